"""Bytewax, Python on timely dataflow, with its own windows and clock of event time."""

# /// script
# dependencies = ["bytewax==0.21.1", "orjson==3.13.0"]
#
# [tool.peer]
# name = "windows of Bytewax"
# time = "event"
# late = "kept apart"
# setting = "one worker, batches of 10,000 lines"
# ///

import sys
from datetime import datetime, timedelta, timezone
from operator import itemgetter

import bytewax.operators as op
import bytewax.operators.windowing as windowing
import orjson
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main
from bytewax_sink import RowsFile
from rows import BUCKET_SECONDS, DISORDER_SECONDS, Rows

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def main():
    events, models, out = sys.argv[1:]
    rows = Rows(models)
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
            parsed.append((event["server_id"], (time, rows.values(event))))
        return parsed

    def fold(samples, item):
        samples.append(item[1])
        return samples

    def score(buckets):
        return [rows.text(server, window * BUCKET_SECONDS, samples) for server, (window, samples) in buckets]

    # The wall clock is left out of it, which would close buckets of a slow run early: it stands still, and wakes nobody.
    disorder = timedelta(seconds=DISORDER_SECONDS)
    clock = windowing.EventClock(itemgetter(0), disorder, now_getter=lambda: EPOCH, to_system_utc=lambda _: None)
    windower = windowing.TumblingWindower(length=timedelta(seconds=BUCKET_SECONDS), align_to=EPOCH)
    flow = Dataflow("peer")
    lines = op.input("lines", flow, FileSource(events, batch_size=10_000))
    keyed = op.flat_map_batch("parse", lines, parse)
    buckets = windowing.fold_window("buckets", keyed, clock, windower, list, fold, lambda one, other: one + other, ordered=False)
    op.output("rows", op.flat_map_batch("score", buckets.down, score), RowsFile(f"{out}.csv"))
    run_main(flow)


main()
