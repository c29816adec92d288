"""DuckDB: one statement over the whole file, its columns given rather than guessed."""

# /// script
# dependencies = ["duckdb==2.0.0"]
#
# [tool.peer]
# name = "DuckDB"
# time = "whole file"
# late = "-"
# setting = "SET threads = {threads}"
# ///

import os
import sys

import duckdb

METRICS = ["cpu_usage_percent", "memory_usage_percent", "cpu_temperature_celsius", "power_consumption_watts", "network_rx_mbps", "network_tx_mbps"]


def main():
    events, models, out = sys.argv[1:]
    columns = ", ".join(["timestamp: 'TIMESTAMP'", "server_id: 'VARCHAR'", *(f"{name}: 'DOUBLE'" for name in METRICS)])
    aggregates = ", ".join(
        f"avg({name}) AS {name}_mean, min({name}) AS {name}_min, max({name}) AS {name}_max, coalesce(stddev_samp({name}), 0) AS {name}_stddev"
        for name in METRICS
    )
    # A list of structs unnested once is one pass over the buckets, where UNION ALL would be six.
    structs = ", ".join(
        f"{{'metric': '{name}', 'mean': {name}_mean, 'min': {name}_min, 'max': {name}_max, 'stddev': {name}_stddev, "
        f"'z_score': ({name}_mean - {name}_expected) / {name}_sigma}}"
        for name in METRICS
    )
    connection = duckdb.connect()
    connection.execute(f"SET threads = {os.environ.get('PEER_THREADS', 1)}; SET preserve_insertion_order = false")
    connection.execute(f"""
        COPY (
            WITH buckets AS (
                SELECT server_id, epoch(timestamp)::BIGINT // 300 * 300 AS bucket_start, count(*) AS count, {aggregates}
                FROM read_json('{events}', format = 'newline_delimited', columns = {{{columns}}})
                GROUP BY ALL
            )
            SELECT server_id, bucket_start, count, unnest([{structs}], recursive := true)
            FROM buckets JOIN '{models}/models.parquet' models USING (server_id)
            WHERE phase = bucket_start // 300 % 288
        ) TO '{out}.parquet' (FORMAT parquet)
    """)


main()
