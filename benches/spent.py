"""What the benches that need services share: the binary that is measured, and what a process and a server take of time and memory."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Spent:
    """CPU-seconds with those of children, wall seconds, and the peak of resident memory in MiB."""

    cpu: float
    wall: float
    peak: float = 0.0


def at_home(marker, python, services):
    """Goes on in the Python that has what the script needs, beside services of its own where the environment names none."""
    # So that what is temporary is removed, some gigabytes, by whoever is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    absent = [name for name in services if not os.environ.get(f"TIDEWATCH_TEST_{name.upper()}")]
    if os.environ.get(marker) and not absent:
        return
    # A service that is not needed is not started.
    unused = {f"TIDEWATCH_TEST_{name.upper()}": "none" for name in ("kafka", "postgres", "redis") if name not in services}
    # The tests' server waits for no disk; what is measured here is to survive a power cut.
    environment = {"TIDEWATCH_SERVICES_FSYNC": "on", marker: "1"} | unused | os.environ
    command = [python(), *sys.argv]
    os.execvpe(*(lambda words: (words[0], words))([TOP / "scripts/services", "run", *command] if absent else command), environment)


def notebooks():
    """The Python of the notebooks, which has psycopg and statsmodels."""
    return subprocess.run([TOP / "scripts/python"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def tidewatch():
    """The binary that is measured."""
    if "TIDEWATCH" in os.environ:
        return os.environ["TIDEWATCH"]
    target = os.environ.get("CARGO_TARGET_DIR") or str(Path.home() / ".cache/tidewatch/target")
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=TOP, env=os.environ | {"CARGO_TARGET_DIR": target}, check=True)
    return f"{target}/release/tidewatch"


def spend(command):
    """Runs a command to its end: what it took, and what it said."""
    started = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"error: {' '.join(map(str, command))} ended with {child.returncode}:\n{said[-4000:]}")
    return Spent(usage.ru_utime + usage.ru_stime, time.monotonic() - started, usage.ru_maxrss / 1024), said


def server_seconds(name):
    """CPU-seconds that a server of `scripts/services` and its children have taken so far; 0 of one that somebody else started."""
    folder = os.environ.get("TIDEWATCH_SERVICES_DIR")
    if not folder or not Path(folder, name, "pid").exists():
        return 0.0
    server, ticks = Path(folder, name, "pid").read_text().strip(), 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        # After the name, which may hold anything: state, parent, …, and as twelfth to fifteenth user and system time, its own and of ended children.
        words = text.rpartition(")")[2].split()
        if stat.parent.name == server:
            ticks += sum(map(int, words[11:15]))
        elif words[1] == server:
            ticks += sum(map(int, words[11:13]))
    return ticks / TICKS
