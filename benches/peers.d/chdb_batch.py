"""chDB, which is ClickHouse within the process: one statement over the whole file, its columns given."""

# /// script
# dependencies = ["chdb==4.4.0"]
#
# [tool.peer]
# name = "chDB"
# time = "whole file"
# late = "-"
# setting = "max_threads = {threads}"
# ///

import os
import sys

import chdb

METRICS = ["cpu_usage_percent", "memory_usage_percent", "cpu_temperature_celsius", "power_consumption_watts", "network_rx_mbps", "network_tx_mbps"]


def main():
    events, models, out = sys.argv[1:]
    threads = os.environ.get("PEER_THREADS", "1")
    columns = ", ".join(["timestamp DateTime(\\'UTC\\')", "server_id String", *(f"{name} Float64" for name in METRICS)])
    aggregates = ", ".join(
        f"avg({name}) AS {name}_mean, min({name}) AS {name}_min, max({name}) AS {name}_max, "
        f"if(count() > 1, stddevSampStable({name}), 0) AS {name}_stddev"
        for name in METRICS
    )
    tuples = ", ".join(
        f"('{name}', {name}_mean, {name}_min, {name}_max, {name}_stddev, ({name}_mean - {name}_expected) / {name}_sigma)" for name in METRICS
    )
    chdb.query(f"""
        INSERT INTO FUNCTION file('{out}.parquet', Parquet)
        SELECT server_id, bucket_start, count, row.1 AS metric, row.2 AS mean, row.3 AS min, row.4 AS max, row.5 AS stddev, row.6 AS z_score
        FROM (
            SELECT server_id, bucket_start, count, arrayJoin([{tuples}]) AS row
            FROM (
                SELECT server_id, intDiv(toInt64(toUnixTimestamp(timestamp)), 300) * 300 AS bucket_start, intDiv(bucket_start, 300) % 288 AS phase,
                    count() AS count, {aggregates}
                FROM file('{events}', JSONEachRow, '{columns}')
                GROUP BY server_id, bucket_start
            ) AS buckets
            INNER JOIN file('{models}/models.parquet', Parquet) AS models USING (server_id, phase)
        )
        SETTINGS max_threads = {threads}, max_insert_threads = 1, input_format_parallel_parsing = {int(int(threads) > 1)},
            date_time_input_format = 'best_effort', input_format_skip_unknown_fields = 1
    """)


main()
