"""polars: one lazy query over the whole file."""

# /// script
# dependencies = ["polars==2.1.0"]
#
# [tool.peer]
# name = "polars"
# time = "whole file"
# late = "-"
# setting = "POLARS_MAX_THREADS={threads}"
# environment = { POLARS_MAX_THREADS = "{threads}" }
# ///

import sys

import polars as pl

METRICS = ["cpu_usage_percent", "memory_usage_percent", "cpu_temperature_celsius", "power_consumption_watts", "network_rx_mbps", "network_tx_mbps"]


def main():
    events, models, out = sys.argv[1:]
    schema = {"timestamp": pl.String, "server_id": pl.String, **{name: pl.Float64 for name in METRICS}}
    seconds = pl.col("timestamp").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="ms").dt.epoch("s")
    of_metrics = [
        value
        for name in METRICS
        for value in (
            pl.col(name).mean().alias(f"{name}_mean"),
            pl.col(name).min().alias(f"{name}_min"),
            pl.col(name).max().alias(f"{name}_max"),
            pl.col(name).std().alias(f"{name}_stddev"),
        )
    ]
    wide = (
        pl.scan_ndjson(events, schema=schema)
        .with_columns(bucket_start=seconds // 300 * 300)
        .group_by("server_id", "bucket_start")
        .agg(pl.len().alias("count"), *of_metrics)
        .with_columns(phase=pl.col("bucket_start") // 300 % 288)
        .join(pl.scan_parquet(f"{models}/models.parquet"), on=["server_id", "phase"])
    )
    rows = pl.concat(
        wide.select(
            "server_id",
            "bucket_start",
            "count",
            metric=pl.lit(name),
            mean=pl.col(f"{name}_mean"),
            min=pl.col(f"{name}_min"),
            max=pl.col(f"{name}_max"),
            stddev=pl.col(f"{name}_stddev").fill_null(0),
            z_score=(pl.col(f"{name}_mean") - pl.col(f"{name}_expected")) / pl.col(f"{name}_sigma"),
        )
        for name in METRICS
    )
    rows.sink_parquet(f"{out}.parquet")


main()
