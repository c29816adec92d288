"""Seasonal and trend by statsmodels for src/train/decompose.rs:  pip install statsmodels==0.15.0 && python3 stl.py > stl.csv"""
from math import ceil, cos, pi, sin

import numpy as np
from statsmodels.tsa.seasonal import STL

N, PERIOD = 252, 24


def value(i):
    phase = (i % PERIOD) / PERIOD * 2 * pi
    noise = i * 7919 % 1009 / 1009 - 0.5
    return 50.0 + 0.03 * i + 8.0 * sin(phase) + 3.0 * cos(2 * phase) + 2.0 * noise


values = np.array([value(i) for i in range(N)])
seasonal = 10 * N + 1
trend = ceil(1.5 * PERIOD / (1 - 1.5 / seasonal)) | 1
low_pass = PERIOD | 1
# The jumps are a tenth of each window, as in Cleveland's Fortran, statsmodels' defaults being 1.
result = STL(
    values, period=PERIOD, seasonal=seasonal, trend=trend, low_pass=low_pass, seasonal_deg=0, trend_deg=1, low_pass_deg=1,
    seasonal_jump=ceil(seasonal / 10), trend_jump=ceil(trend / 10), low_pass_jump=ceil(low_pass / 10), robust=False,
).fit(inner_iter=2, outer_iter=0)
print("value,seasonal,trend")
for row in zip(values, result.seasonal, result.trend):
    print(",".join(f"{x:.12g}" for x in row))
