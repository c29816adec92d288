"""Installs what one Python file of this folder names as its dependencies, by name, into the user's cache, and finds the Python that has them."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path


class NotInstalled(Exception):
    """What a peer needs cannot be had; the reason, as its installer put it."""


def cache():
    """The folder that all of the project's tools are kept in."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidewatch"


def metadata(script):
    """The table at the head of a script, as Python packaging defines it (inline script metadata); empty where there is none."""
    block = re.search(r"(?m)^# /// script$\n((?:^#(?: .*)?$\n)+?)^# ///$", script.read_text())
    return tomllib.loads("\n".join(line[2:] for line in block[1].splitlines())) if block else {}


def python(script):
    """The Python that has the dependencies of a script; makes its environment first, if it is not there."""
    dependencies = metadata(script).get("dependencies", [])
    if not dependencies:
        return sys.executable
    text = "\n".join([sys.version, *dependencies])
    folder = cache() / f"peers-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes at the same time waits, and finds it made
        if not (folder / "complete").exists():
            make(folder, dependencies)
    return str(folder / "bin" / "python")


def make(folder, dependencies):
    """A fresh environment; the file `complete` is written last."""
    print(f"installing {' '.join(dependencies)} into {folder}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    answer = subprocess.run([*pip, *dependencies], stderr=subprocess.PIPE, text=True)
    if answer.returncode:
        shutil.rmtree(folder)
        reasons = [line for line in answer.stderr.splitlines() if line.startswith("ERROR: ")]
        raise NotInstalled((reasons or ["ERROR: pip failed"])[-1].removeprefix("ERROR: "))
    (folder / "complete").touch()


def built(script, build):
    """What the build of a peer prints, which the peer needs to be run: the class path of a program in Java."""
    answer = subprocess.run([script.parent / build], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if answer.returncode:
        raise NotInstalled((answer.stderr.strip().splitlines() or ["its build failed"])[-1])
    return answer.stdout.strip()
