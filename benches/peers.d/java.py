"""Becomes a Java program that a build of this folder has put on its class path."""

import os
import sys

# What Flink's own start scripts open to reflection, as far as these jobs need it.
OPEN = ["java.base/java.lang", "java.base/java.util", "java.base/java.time", "java.base/java.util.concurrent"]
OPTIONS = ["-Xmx2g", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", *(f"--add-opens={one}=ALL-UNNAMED" for one in OPEN)]


def become(main):
    """Never returns: the arguments of this process become those of the class `main`."""
    os.execvp("java", ["java", *OPTIONS, "-cp", os.environ["PEER_BUILT"], main, *sys.argv[1:]])
