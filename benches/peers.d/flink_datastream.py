"""Starts Flink's DataStream, hand-written in Java (flink/Buckets.java), and becomes it."""

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

import os
import sys

# What Flink's own start scripts open to reflection, as far as this job needs it.
OPEN = ["java.base/java.lang", "java.base/java.util", "java.base/java.time", "java.base/java.util.concurrent"]
JAVA = ["java", "-Xmx2g", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", *(f"--add-opens={one}=ALL-UNNAMED" for one in OPEN)]

os.execvp("java", [*JAVA, "-cp", os.environ["PEER_BUILT"], "Buckets", *sys.argv[1:]])
