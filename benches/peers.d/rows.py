"""The rows of a bucket as text, each with its score against the model of its series, for what runs in plain Python."""

import math
from operator import itemgetter, mul

import orjson

BUCKET_SECONDS = 300
DISORDER_SECONDS = 120
PHASES = 288
HEADER = "server_id,metric,bucket_start,count,mean,min,max,stddev,z_score\n"


class Rows:
    """The models of a folder."""

    def __init__(self, folder):
        with open(f"{folder}/models.json", "rb") as file:
            models = orjson.loads(file.read())
        self.metrics, self.expected, self.sigma = models["metrics"], models["expected"], models["sigma"]
        # The six values of an event as a tuple, in one call.
        self.values = itemgetter(*self.metrics)

    def text(self, server, start, samples):
        """Six lines from the tuples of a bucket that starts `start` seconds after the epoch: the built-in functions over each column."""
        n, phase = len(samples), start // BUCKET_SECONDS % PHASES
        lines = []
        for name, column, expected, sigma in zip(self.metrics, zip(*samples), self.expected[server], self.sigma[server]):
            total = sum(column)
            mean = total / n
            stddev = math.sqrt(max(sum(map(mul, column, column)) - total * mean, 0.0) / (n - 1)) if n > 1 else 0.0
            z_score = (mean - expected[phase]) / sigma
            lines.append(f"{server},{name},{start},{n},{mean!r},{min(column)!r},{max(column)!r},{stddev!r},{z_score!r}\n")
        return "".join(lines)
