"""Reads what Tidewatch has stored, from SQLite or PostgreSQL, as polars tables with times in UTC.

The history is the one of TIDEWATCH_HISTORY, written as for the binary: embedded:PATH or postgres://…; relative paths start where
Jupyter was started. SQLite keeps times as milliseconds since 1970 and PostgreSQL as TIMESTAMPTZ: outside this file both are polars' Datetime.
"""

import datetime as dt
import os
import pathlib
import sqlite3
import urllib.parse

import polars as pl

# A kernel runs in the folder of its notebook; the shell that started it is remembered by its variable alone.
STARTED = pathlib.Path(os.environ.get("PWD") or os.getcwd())
URL = "embedded:tidewatch-data/tidewatch.db"
TIME = pl.Datetime("ms", "UTC")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
WEEK = dt.timedelta(days=7)

SERIES = {"series_id": pl.Int64, "entity_type": pl.String, "entity_id": pl.String, "metric": pl.String, "rack": pl.String, "zone": pl.String}
BUCKETS = {
    "series_id": pl.Int64,
    "bucket_start": TIME,
    "mean": pl.Float64,
    "expected": pl.Float64,
    "sigma": pl.Float64,
    "z_score": pl.Float64,
    "state": pl.String,
}
ANOMALIES = {"series_id": pl.Int64, "timestamp": TIME, "severity": pl.String, "anomaly_score": pl.Float64, "status": pl.String}
INCIDENTS = {
    "incident_id": pl.Int64,
    "scope": pl.String,
    "entity_type": pl.String,
    "entity_id": pl.String,
    "zone": pl.String,
    "rack": pl.String,
    "opened": TIME,
    "last": TIME,
    "status": pl.String,
    "severity": pl.String,
    "entities": pl.Int64,
    "peers": pl.Int64,
    "anomalous": pl.Int64,
    "missing": pl.Int64,
    "peak_entity_id": pl.String,
    "peak_metric": pl.String,
    "peak_start": TIME,
    "peak_mean": pl.Float64,
    "peak_expected": pl.Float64,
    "peak_z_score": pl.Float64,
}
EPISODES = {"series_id": pl.Int64, "opened": TIME, "last": TIME, "severity": pl.String, "status": pl.String}


def path(name):
    """A path as the caller wrote it, relative ones from where Jupyter was started."""
    return STARTED / pathlib.Path(name).expanduser()


class History:
    """A history, opened for reading alone."""

    def __init__(self, url=None):
        url = url or os.environ.get("TIDEWATCH_HISTORY") or URL
        scheme, _, rest = url.partition(":")
        if scheme == "embedded":
            file = path(rest)
            if not file.is_file():
                raise RuntimeError(f"there is no history at {file}: let `tidewatch` run first, or set TIDEWATCH_HISTORY")
            self._connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
            self._is_embedded = True
        elif scheme in ("postgres", "postgresql"):
            self._connection = _postgres(url)
            self._is_embedded = False
        else:
            raise RuntimeError(f"'{scheme}' is not a history: write embedded:PATH or postgres://USER@HOST:PORT/DATABASE")

    def select(self, sql, parameters, columns):
        """The rows of a query; its parameters stand in it as ?, and its columns are those of `columns`, in this order."""
        if not self._is_embedded:
            sql = sql.replace("?", "%s")
        rows = self._connection.execute(sql, [self._written(value) for value in parameters]).fetchall()
        stored = {name: pl.Int64 if kind == TIME and self._is_embedded else kind for name, kind in columns.items()}
        return pl.DataFrame(rows, schema=stored, orient="row").cast(columns)

    def _written(self, value):
        """A parameter as the store has it."""
        if isinstance(value, dt.datetime) and self._is_embedded:
            return (value - EPOCH) // dt.timedelta(milliseconds=1)
        return value

    def end(self):
        """How far the history has come, in event time; buckets that ended before are closed."""
        (end,) = self.select("SELECT max(horizon) FROM sources", [], {"horizon": TIME})["horizon"]
        if end is None:
            raise RuntimeError("this history is empty: let `tidewatch` run first")
        return end

    def bucket_width(self):
        """The width of a bucket."""
        (width,) = self.select("SELECT max(bucket_width) FROM sources", [], {"width": pl.Int64})["width"]
        return dt.timedelta(milliseconds=width)

    def series(self):
        """All series, with the rack and zone in which their entity stands now."""
        columns = {"series_id": pl.Int64, "entity_type": pl.String, "entity_id": pl.String, "metric": pl.String}
        named = self.select("SELECT series_id, entity_type, entity_id, metric FROM series", [], columns)
        columns = {"entity_type": pl.String, "entity_id": pl.String, "zone": pl.String, "rack": pl.String}
        placed = self.select("SELECT entity_type, entity_id, zone, rack FROM placements ORDER BY since", [], columns)
        placed = placed.unique(["entity_type", "entity_id"], keep="last", maintain_order=True)
        placed = placed.with_columns(pl.col("zone", "rack").replace("", None))
        placed = named.join(placed, on=["entity_type", "entity_id"], how="left")
        return placed.sort("entity_type", "entity_id", "metric").select(*SERIES)

    def buckets(self, since, until, series_id=None):
        """The verdicts on buckets that start in `[since, until)`, of one series or all, in order."""
        sql = "SELECT series_id, bucket_start, mean, expected, sigma, z_score, state FROM buckets WHERE bucket_start >= ? AND bucket_start < ?"
        parameters = [since, until]
        if series_id is not None:
            sql, parameters = sql + " AND series_id = ?", [*parameters, series_id]
        return self.select(sql + " ORDER BY series_id, bucket_start", parameters, BUCKETS)

    def scored(self, since, until):
        """How many buckets that start in `[since, until)` have a score, of all series together."""
        sql = "SELECT count(*) FROM buckets WHERE bucket_start >= ? AND bucket_start < ? AND z_score IS NOT NULL"
        (buckets,) = self.select(sql, [since, until], {"buckets": pl.Int64})["buckets"]
        return buckets

    def truth_command(self):
        """What writes the truth of the simulation that this history holds, as far as it has come."""
        for source in self.select("SELECT source FROM sources ORDER BY source", [], {"source": pl.String})["source"]:
            scheme, _, rest = source.partition(":")
            preset, _, query = rest.partition("?")
            flags = dict(urllib.parse.parse_qsl(query))
            if scheme == "simulate" and "start" in flags:
                watched = (self.end() - dt.datetime.fromisoformat(flags["start"])) // dt.timedelta(seconds=1)
                pinned = " ".join(f"--{name} {flags[name]}" for name in ("seed", "start", "interval") if name in flags)
                return f"tidewatch generate --to - --preset {preset} {pinned} --for {watched}s --speed max --truth truth.jsonl > /dev/null"
        raise RuntimeError("this history holds no simulation, so nobody knows the truth")

    def anomalies(self, since, until):
        """The anomalies of closed buckets that start in `[since, until)` and hold, with series and arithmetic."""
        sql = """SELECT series_id, timestamp, severity, anomaly_score, status FROM anomalies
            WHERE timestamp >= ? AND timestamp < ? AND status = 'open' ORDER BY timestamp, series_id"""
        found = self.select(sql, [since, until], ANOMALIES)
        # SQLite joins in this order: a bucket is found for each anomaly, of which there are few.
        sql = """SELECT buckets.series_id, bucket_start, mean, expected, sigma, z_score, state FROM anomalies CROSS JOIN buckets
            WHERE bucket_start = timestamp AND buckets.series_id = anomalies.series_id AND timestamp >= ? AND timestamp < ?"""
        scored = self.select(sql, [since, until], BUCKETS).drop("state")
        found = found.join(scored, left_on=["series_id", "timestamp"], right_on=["series_id", "bucket_start"], how="left")
        return found.join(self.series(), on="series_id", how="left")

    def incidents(self, since, until):
        """The incidents that opened in `[since, until)`, withdrawn ones included, with the names of their metrics."""
        sql = f"SELECT {', '.join(INCIDENTS)}, metrics FROM incidents WHERE opened >= ? AND opened < ? ORDER BY opened, incident_id"
        found = self.select(sql, [since, until], {**INCIDENTS, "metrics": pl.String})
        return found.with_columns(pl.col("metrics").str.json_decode(pl.List(pl.String)))

    def episodes(self, since, until):
        """The episodes that opened in `[since, until)` and hold."""
        sql = f"SELECT {', '.join(EPISODES)} FROM episodes WHERE opened >= ? AND opened < ? AND status <> 'withdrawn'"
        return self.select(sql, [since, until], EPISODES)


def _postgres(url):
    """A connection that only reads. What libpq does not know of the binary's URLs is said in its words."""
    import psycopg

    parts = urllib.parse.urlsplit(url)
    asked = dict(urllib.parse.parse_qsl(parts.query))
    password_file = asked.pop("password_file", None) or os.environ.get("TIDEWATCH_HISTORY_PASSWORD_FILE")
    schema = asked.pop("schema", None)
    settings = {"row_factory": psycopg.rows.tuple_row}
    if parts.password is None and password_file:
        settings["password"] = pathlib.Path(password_file).read_text().rstrip("\r\n")
    elif parts.password is None and os.environ.get("TIDEWATCH_HISTORY_PASSWORD"):
        settings["password"] = os.environ["TIDEWATCH_HISTORY_PASSWORD"]
    if asked.get("sslmode", "").startswith("verify-"):
        asked.setdefault("sslrootcert", "system" if asked["sslmode"] == "verify-full" else "")
    if schema:
        settings["options"] = f"-c search_path={schema}"
    url = urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode({key: value for key, value in asked.items() if value})))
    connection = psycopg.connect(url, **settings)
    connection.read_only = True
    connection.execute("SET TIME ZONE 'UTC'")
    return connection
