"""Flink's SQL: see flink/BucketsSql.java."""

# /// script
# dependencies = []
#
# [tool.peer]
# name = "Flink SQL"
# version = "2.3.0"
# time = "event"
# late = "dropped, counted"
# setting = "parallelism 1, SerialGC"
# build = "flink/build"
# events_max = 1_000_000
# ///

import java

java.become("BucketsSql")
