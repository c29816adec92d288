"""Writes the events that all peers read, and one set of models in the form that each of them loads fastest.

    generate.py EVENTS FOLDER

FOLDER/events.jsonl: six metrics of 1,000 servers (of fewer where there are less than 200,000 events) every ten seconds, about 270 bytes an event;
two of a hundred come later than they happened, by ten seconds to two minutes. FOLDER/models.db, .json, .parquet: what each series is expected to
be in each of the 288 buckets of a day, and its sigma. The same arguments give the same numbers.
"""

# /// script
# dependencies = ["polars==2.1.0"]
# ///

import functools
import json
import math
import random
import sqlite3
import sys
from datetime import datetime, timedelta, timezone

import polars as pl

SERVERS_MAX = 1_000
# So many rounds at least are more than half an hour: a tiny run has several buckets, and few models to load.
ROUNDS_MIN = 200
INTERVAL_SECONDS = 10
DELAYED_SHARE = 0.02
# A delay of so many rounds and the seconds within a round are less than two minutes together.
DELAY_ROUNDS_MAX = 11
PHASES = 288
SEED = 7
# A Monday; the models were trained on the fortnight before it.
START = datetime(2026, 1, 19, tzinfo=timezone.utc)

# Name, usual value, how far the day moves it, noise of one sample.
METRICS = [
    ("cpu_usage_percent", 45.0, 20.0, 4.0),
    ("memory_usage_percent", 60.0, 8.0, 1.5),
    ("cpu_temperature_celsius", 55.0, 9.0, 2.0),
    ("power_consumption_watts", 380.0, 90.0, 12.0),
    ("network_rx_mbps", 240.0, 110.0, 25.0),
    ("network_tx_mbps", 180.0, 80.0, 20.0),
]
EVENT = (
    '{"type":"server_metric","timestamp":"%s","server_id":"srv-%04d","rack_id":"rack-%02d",'
    + ",".join(f'"{name}":%.2f' for name, *_ in METRICS)
    + "}\n"
)


def expected(server, metric, phase, servers):
    """What a series is around in one of the 288 buckets of a day."""
    _, usual, day, _ = METRICS[metric]
    turn = 2 * math.pi * (phase / PHASES + server / servers)
    return round(usual * (1 + server % 7 / 50) + day * math.sin(turn + metric) + day / 4 * math.sin(3 * turn), 3)


def sigma(metric):
    """The scale of the mean of a bucket of thirty samples."""
    return round(METRICS[metric][3] / math.sqrt(300 / INTERVAL_SECONDS), 4)


def events(count, profiles):
    """The lines in the order in which they come."""
    chance = random.Random(SEED)
    noise = [[chance.gauss(0, deviation) for _ in range(65_537)] for *_, deviation in METRICS]
    servers = len(profiles)
    held, made, written, tick, place = {}, 0, 0, 0, 0
    while written < count:
        for line in held.pop(tick, ()):
            yield line
            written += 1
        phase = tick * INTERVAL_SECONDS // 300 % PHASES
        times = [(START + timedelta(seconds=tick * INTERVAL_SECONDS + second)).strftime("%Y-%m-%dT%H:%M:%SZ") for second in range(INTERVAL_SECONDS)]
        for server in range(min(servers, count - made)):
            # A stride without a factor in common with the table's length: no two metrics stay in step.
            place = (place + 48_271) % 65_537
            values = [abs(around + noise[metric][place - metric * 7_919]) for metric, around in enumerate(profiles[server][phase])]
            line = EVENT % (times[server * INTERVAL_SECONDS // servers], server, server % 40, *values)
            made += 1
            if chance.random() < DELAYED_SHARE:
                held.setdefault(tick + chance.randint(1, DELAY_ROUNDS_MAX), []).append(line)
            else:
                yield line
                written += 1
        tick += 1


def document(server, metric, profile):
    """A model as Tidewatch stores it."""
    name, trained = METRICS[metric][0], START.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "series": f"server:srv-{server:04d}:{name}",
        "method": "stl_zscore",
        "parameters": {},
        "bucket_seconds": 300.0,
        "period": PHASES,
        "trained_from": (START - timedelta(days=14)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "trained_until": trained,
        "trained_at": trained,
        "buckets": 14 * PHASES,
        "masked": 0,
        "fill": 1.0,
        "input_hash": "",
        "level": 0.0,
        "sigma": sigma(metric),
        "seasonal": {"daily": [row[metric] for row in profile]},
    }


def write_models(folder, profiles):
    """The same numbers three times: Tidewatch's documents, one JSON object, one row per server and phase."""
    database = sqlite3.connect(f"{folder}/models.db")
    database.execute("CREATE TABLE model_documents (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID")
    documents = (document(server, metric, profile) for server, profile in enumerate(profiles) for metric in range(len(METRICS)))
    rows = ((f"model:{one['series']}", json.dumps(one, separators=(",", ":"))) for one in documents)
    database.executemany("INSERT INTO model_documents VALUES (?, ?)", rows)
    database.execute("INSERT INTO model_documents VALUES ('models:generation', '1')")
    database.commit()
    database.close()

    names = [name for name, *_ in METRICS]
    sigmas = [sigma(metric) for metric in range(len(METRICS))]
    columns = {f"srv-{server:04d}": [list(column) for column in zip(*profile)] for server, profile in enumerate(profiles)}
    with open(f"{folder}/models.json", "w") as file:
        json.dump({"metrics": names, "expected": columns, "sigma": {name: sigmas for name in columns}}, file, separators=(",", ":"))

    schema = ["server_id", "phase", *(f"{name}_expected" for name in names), *(f"{name}_sigma" for name in names)]
    rows = [(f"srv-{server:04d}", phase, *row, *sigmas) for server, profile in enumerate(profiles) for phase, row in enumerate(profile)]
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(f"{folder}/models.parquet")


def main():
    count, folder = int(sys.argv[1]), sys.argv[2]
    servers = max(min(count // ROUNDS_MIN, SERVERS_MAX), 1)
    around = functools.partial(expected, servers=servers)
    profiles = [[[around(server, metric, phase) for metric in range(len(METRICS))] for phase in range(PHASES)] for server in range(servers)]
    write_models(folder, profiles)
    with open(f"{folder}/events.jsonl", "w", buffering=1 << 20) as file:
        file.writelines(events(count, profiles))


main()
