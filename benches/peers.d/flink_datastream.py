"""Flink's DataStream, hand-written in Java: see flink/Buckets.java."""

# /// script
# dependencies = []
#
# [tool.peer]
# name = "Flink DataStream"
# version = "2.3.0"
# time = "event"
# late = "dropped, counted"
# setting = "parallelism 1, SerialGC"
# build = "flink/build"
# ///

import java

java.become("Buckets")
