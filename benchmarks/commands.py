"""Run a command as a user would, and measure it with all processes it starts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAMPLE_S = 0.5
"""Looking at gigabytes of pages takes the command itself some milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A command that has ended."""

    code: int
    seconds: float
    peak_rss_mib: float
    """Of the command and all processes below it together; pages they share count once.
    Sampled twice a second, and never less than the largest of them had."""
    output: str
    error: str


def _held_mib(root: psutil.Process) -> float:
    """Return what a process and those below it hold; pages they share count once."""
    held = 0
    with suppress(psutil.Error):
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error):
                held += process.memory_full_info().pss
    return held / 2**20


@contextmanager
def _sampled(pid: int) -> Iterator[list[float]]:
    """Give a list that grows while the body runs: what is held, in MiB."""
    samples = [0.0]
    done = threading.Event()

    def sample() -> None:
        root = psutil.Process(pid)
        while not done.wait(_SAMPLE_S):
            samples.append(_held_mib(root))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def run_spinert(*arguments: str | Path, environment: dict[str, str]) -> Run:
    """Run `spinert ARGUMENTS` in a process of its own and measure it."""
    command = [sys.executable, "-m", "spinert", *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        with _sampled(process.pid) as samples:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        for stream in (out, err):
            stream.seek(0)
        return Run(
            code=process.returncode,
            seconds=round(seconds, 1),
            peak_rss_mib=round(max(usage.ru_maxrss / 1024, *samples)),
            output=out.read(),
            error=err.read().strip().rpartition("error: ")[2][:300],
        )
