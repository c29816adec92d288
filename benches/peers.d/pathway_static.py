"""Pathway, Python on differential dataflow, over the file at once, which is its fastest way of reading one."""

# /// script
# dependencies = ["pathway==0.33.0"]
#
# [tool.peer]
# name = "Pathway"
# time = "whole file"
# late = "revises, in its streaming mode"
# setting = "PATHWAY_THREADS=1"
# environment = { PATHWAY_THREADS = "1" }
# events_max = 500_000
# ///

import json
import math
import sys

import pathway as pw

PHASES = 288


class Event(pw.Schema):
    """The fields that the work needs."""

    timestamp: str
    server_id: str
    cpu_usage_percent: float
    memory_usage_percent: float
    cpu_temperature_celsius: float
    power_consumption_watts: float
    network_rx_mbps: float
    network_tx_mbps: float


def main():
    events, models, out = sys.argv[1:]
    with open(f"{models}/models.json") as file:
        model = json.load(file)
    metrics = model["metrics"]
    table = pw.io.jsonlines.read(events, schema=Event, mode="static")
    numbers = {name: pw.this[name] for name in metrics}
    squares = {f"{name}_square": pw.this[name] * pw.this[name] for name in metrics}
    time = pw.this.timestamp.dt.strptime("%Y-%m-%dT%H:%M:%SZ")
    samples = table.select(pw.this.server_id, bucket=time.dt.timestamp(unit="s") // 300, **numbers, **squares)
    folded = {}
    for name in metrics:
        folded[f"{name}_sum"] = pw.reducers.sum(pw.this[name])
        folded[f"{name}_squares"] = pw.reducers.sum(pw.this[f"{name}_square"])
        folded[f"{name}_min"] = pw.reducers.min(pw.this[name])
        folded[f"{name}_max"] = pw.reducers.max(pw.this[name])
    buckets = samples.groupby(pw.this.server_id, pw.this.bucket).reduce(pw.this.server_id, pw.this.bucket, n=pw.reducers.count(), **folded)

    with open(f"{out}.csv", "w", buffering=1 << 20) as file:
        file.write("server_id,metric,bucket_start,count,mean,min,max,stddev,z_score\n")

        def write(key, row, time, is_addition):
            server, bucket, n = row["server_id"], int(row["bucket"]), row["n"]
            around, scale = model["expected"][server], model["sigma"][server]
            for metric, name in enumerate(metrics):
                total, least, most = row[f"{name}_sum"], row[f"{name}_min"], row[f"{name}_max"]
                mean = total / n
                stddev = math.sqrt(max(row[f"{name}_squares"] - total * mean, 0.0) / (n - 1)) if n > 1 else 0.0
                z_score = (mean - around[metric][bucket % PHASES]) / scale[metric]
                file.write(f"{server},{name},{bucket * 300},{n},{mean!r},{least!r},{most!r},{stddev!r},{z_score!r}\n")

        pw.io.subscribe(buckets, on_change=write)
        pw.run(monitoring_level=pw.MonitoringLevel.NONE)


main()
