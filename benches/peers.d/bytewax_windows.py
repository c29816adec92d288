"""Bytewax, Python on timely dataflow, with its own windows and clock of event time."""

# /// script
# dependencies = ["bytewax==0.21.1", "orjson==3.13.0"]
#
# [tool.peer]
# name = "Bytewax"
# time = "event"
# late = "kept apart"
# setting = "one worker, batches of 10,000 lines"
# ///

import math
import sys
from datetime import datetime, timedelta, timezone
from operator import itemgetter, mul

import bytewax.operators as op
import bytewax.operators.windowing as windowing
import orjson
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
BUCKET = timedelta(minutes=5)
DISORDER = timedelta(minutes=2)
PHASES = 288


class Lines(DynamicSink):
    """One file of rows."""

    def __init__(self, path):
        self.path = path

    def build(self, step_id, worker_index, worker_count):
        return LinesPart(self.path)


class LinesPart(StatelessSinkPartition):
    """The file, of the only worker."""

    def __init__(self, path):
        self.file = open(path, "w", buffering=1 << 20)
        self.file.write("server_id,metric,bucket_start,count,mean,min,max,stddev,z_score\n")

    def write_batch(self, items):
        self.file.writelines(items)

    def close(self):
        self.file.close()


def main():
    events, models, out = sys.argv[1:]
    with open(f"{models}/models.json", "rb") as file:
        model = orjson.loads(file.read())
    metrics = model["metrics"]
    values = itemgetter(*metrics)
    # The same second comes a hundred times.
    times = {}

    def parse(lines):
        parsed = []
        for line in lines:
            event = orjson.loads(line)
            text = event["timestamp"]
            time = times.get(text)
            if time is None:
                if len(times) > 10_000:
                    times.clear()
                time = times[text] = datetime.fromisoformat(text)
            parsed.append((event["server_id"], (time, values(event))))
        return parsed

    def fold(rows, item):
        rows.append(item[1])
        return rows

    def score(buckets):
        return [text(server, window, rows) for server, (window, rows) in buckets]

    def text(server, window, rows):
        start = window * int(BUCKET.total_seconds())
        n = len(rows)
        around, scale = model["expected"][server], model["sigma"][server]
        lines = []
        for metric, column in enumerate(zip(*rows)):
            total = sum(column)
            mean = total / n
            stddev = math.sqrt(max(sum(map(mul, column, column)) - total * mean, 0.0) / (n - 1)) if n > 1 else 0.0
            z_score = (mean - around[metric][window % PHASES]) / scale[metric]
            lines.append(f"{server},{metrics[metric]},{start},{n},{mean!r},{min(column)!r},{max(column)!r},{stddev!r},{z_score!r}\n")
        return "".join(lines)

    # The wall clock is left out of it, which would close buckets of a slow run early: it stands still, and wakes nobody.
    clock = windowing.EventClock(itemgetter(0), DISORDER, now_getter=lambda: EPOCH, to_system_utc=lambda _: None)
    flow = Dataflow("peer")
    lines = op.input("lines", flow, FileSource(events, batch_size=10_000))
    keyed = op.flat_map_batch("parse", lines, parse)
    windower = windowing.TumblingWindower(length=BUCKET, align_to=EPOCH)
    buckets = windowing.fold_window("buckets", keyed, clock, windower, list, fold, lambda one, other: one + other, ordered=False)
    op.output("rows", op.flat_map_batch("score", buckets.down, score), Lines(f"{out}.csv"))
    run_main(flow)


main()
