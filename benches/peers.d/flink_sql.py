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
# ///

import java

java.become("BucketsSql")
