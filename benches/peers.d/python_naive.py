"""What one writes first: json.loads, one metric at a time, its model fetched and parsed for each sample, a score at once.

The models are in the Redis of TIDEWATCH_TEST_REDIS, which `scripts/services run benches/peers` has.
"""

# /// script
# dependencies = ["redis==8.1.0"]
#
# [tool.peer]
# name = "naive Python, a Redis GET per sample, redis-py"
# time = "event"
# late = "kept open to the end"
# setting = "one thread"
# events_max = 50_000
# needs = "TIDEWATCH_TEST_REDIS"
# ///

import json
import math
import os
import sys
from datetime import datetime

import redis

PHASES = 288


def main():
    events, models, out = sys.argv[1:]
    with open(f"{models}/models.json") as file:
        model = json.load(file)
    store = redis.Redis.from_url(os.environ["TIDEWATCH_TEST_REDIS"])
    with store.pipeline(transaction=False) as pipeline:
        for server, profiles in model["expected"].items():
            for metric, name in enumerate(model["metrics"]):
                document = {"seasonal": profiles[metric], "sigma": model["sigma"][server][metric]}
                pipeline.set(f"peer:{server}:{name}", json.dumps(document))
        pipeline.execute()

    buckets = {}
    with open(events) as lines:
        for line in lines:
            event = json.loads(line)
            time = datetime.fromisoformat(event["timestamp"])
            start = int(time.timestamp()) // 300 * 300
            for metric in model["metrics"]:
                key = (event["server_id"], metric, start)
                bucket = buckets.setdefault(key, {"values": [], "z_score": None})
                bucket["values"].append(event[metric])
                fitted = json.loads(store.get(f"peer:{key[0]}:{metric}"))
                mean = sum(bucket["values"]) / len(bucket["values"])
                bucket["z_score"] = (mean - fitted["seasonal"][start // 300 % PHASES]) / fitted["sigma"]

    with open(f"{out}.csv", "w") as file:
        file.write("server_id,metric,bucket_start,count,mean,min,max,stddev,z_score\n")
        for (server, metric, start), bucket in buckets.items():
            values = bucket["values"]
            n, mean = len(values), sum(values) / len(values)
            stddev = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else 0.0
            file.write(f"{server},{metric},{start},{n},{mean!r},{min(values)!r},{max(values)!r},{stddev!r},{bucket['z_score']!r}\n")
    store.delete(*(f"peer:{server}:{metric}" for server in model["expected"] for metric in model["metrics"]))


main()
