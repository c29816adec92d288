"""Seasonal and trend by statsmodels for src/stl/tests.rs, of the series in stl_r.csv:
    pip install statsmodels==0.15.0 && python3 stl_statsmodels.py > stl_statsmodels.csv"""
import csv

from statsmodels.tsa.seasonal import STL

with open("stl_r.csv") as file:
    rows = list(csv.DictReader(file))
print("set,value,seasonal,trend")
for name, series, period, jump, robust in [
    ("nottem every value", "nottem", 12, 1, False),
    ("nottem every second robust", "nottem", 12, 2, True),
    ("UKgas every value robust", "UKgas robust", 4, 1, True),
]:
    values = [float(row["value"]) for row in rows if row["set"] == series]
    parts = STL(values, period=period, robust=robust, seasonal_jump=jump, trend_jump=jump, low_pass_jump=jump).fit()
    for value, seasonal, trend in zip(values, parts.seasonal, parts.trend):
        print(f"{name},{value:.15g},{seasonal:.13g},{trend:.13g}")
