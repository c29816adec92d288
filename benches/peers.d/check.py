"""Adds up what a peer wrote, so that peers can be compared: prints one JSON object.

    check.py FILE    .csv or .parquet with the columns of a peer or of a backtest of Tidewatch, .db of a run of it
"""

# /// script
# dependencies = ["polars==2.1.0"]
# ///

import json
import sqlite3
import sys

import polars as pl

NAMES = ["rows", "events x metrics", "starts", "means", "minima", "maxima", "stddevs", "|z|", "|z| > 3"]


def of_database(path):
    """The sums over the verdicts of a run, whose times are milliseconds."""
    query = """
        SELECT count(*), sum(count), sum(bucket_start / 1000), sum(mean), sum(min), sum(max), sum(stddev), sum(abs(z_score)), sum(abs(z_score) > 3)
        FROM buckets
    """
    return sqlite3.connect(path).execute(query).fetchone()


def of_rows(rows):
    """The same sums over a table of rows; in CSV of a backtest times are written out, and a metric that another one speaks for has a z-score of its own."""
    schema = rows.collect_schema()
    if "own_z_score" in schema:
        start = pl.col("bucket_start")
        start = start.str.to_datetime("%Y-%m-%dT%H:%M:%SZ") if schema["bucket_start"] == pl.String else start
        rows = rows.with_columns(start.dt.epoch("s"), z_score=pl.col("own_z_score"))
    z_score = pl.col("z_score").abs()
    columns = [pl.col(name).sum() for name in ("count", "bucket_start", "mean", "min", "max", "stddev")]
    return rows.select(pl.len(), *columns, z_score.sum().alias("z"), (z_score > 3).sum().alias("over")).collect().row(0)


def main():
    path = sys.argv[1]
    if path.endswith(".db"):
        sums = of_database(path)
    elif path.endswith(".csv"):
        sums = of_rows(pl.scan_csv(path))
    else:
        sums = of_rows(pl.scan_parquet(path))
    print(json.dumps(dict(zip(NAMES, sums))))


main()
