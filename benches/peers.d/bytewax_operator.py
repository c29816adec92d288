"""Bytewax, Python on timely dataflow, with an operator of our own: what a batch of lines has of a server and bucket travels together."""

# /// script
# dependencies = ["bytewax==0.21.1", "orjson==3.13.0"]
#
# [tool.peer]
# name = "own operator in Bytewax"
# time = "event"
# late = "dropped, counted"
# setting = "one worker, batches of 10,000 lines"
# ///

import sys
from datetime import datetime

import bytewax.operators as op
import orjson
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main
from bytewax_sink import RowsFile
from rows import BUCKET_SECONDS, DISORDER_SECONDS, Rows


class Buckets(op.StatefulBatchLogic):
    """The open buckets of one server, and how far its times have come."""

    def __init__(self, state):
        self.latest, self.open, self.late = state or (0, {}, 0)

    def on_batch(self, values):
        for latest, parts in values:
            for start, samples in parts.items():
                if start + BUCKET_SECONDS <= self.latest - DISORDER_SECONDS:
                    self.late += len(samples)
                elif start in self.open:
                    self.open[start] += samples
                else:
                    self.open[start] = samples
            self.latest = max(self.latest, latest)
        complete = [start for start in self.open if start + BUCKET_SECONDS <= self.latest - DISORDER_SECONDS]
        return [(start, self.open.pop(start)) for start in complete], self.RETAIN

    def on_eof(self):
        return list(self.open.items()), self.DISCARD

    def snapshot(self):
        return self.latest, {start: list(samples) for start, samples in self.open.items()}, self.late


def main():
    events, models, out = sys.argv[1:]
    rows = Rows(models)
    # By minute; the watermark moves by the minute, too.
    times = {}

    def parse(lines):
        servers = {}
        for line in lines:
            event = orjson.loads(line)
            minute = event["timestamp"][:16]
            time = times.get(minute)
            if time is None:
                time = times[minute] = int(datetime.fromisoformat(minute + ":00+00:00").timestamp())
            server = event["server_id"]
            known = servers.get(server)
            if known is None:
                known = servers[server] = [time, {}]
            elif time > known[0]:
                known[0] = time
            known[1].setdefault(time // BUCKET_SECONDS * BUCKET_SECONDS, []).append(rows.values(event))
        return servers.items()

    def score(buckets):
        return [rows.text(server, start, samples) for server, (start, samples) in buckets]

    flow = Dataflow("peer")
    lines = op.input("lines", flow, FileSource(events, batch_size=10_000))
    buckets = op.stateful_batch("buckets", op.flat_map_batch("parse", lines, parse), Buckets)
    op.output("rows", op.flat_map_batch("score", buckets, score), RowsFile(f"{out}.csv"))
    run_main(flow)


main()
