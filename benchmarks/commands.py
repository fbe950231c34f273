"""Run a command as a user would, and measure the whole process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Run:
    """A command that has ended."""

    code: int
    seconds: float
    peak_rss_mib: float
    output: str
    error: str


def run_spinert(*arguments: str | Path, environment: dict[str, str]) -> Run:
    """Run `spinert ARGUMENTS` in a process of its own and measure it."""
    command = [sys.executable, "-m", "spinert", *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        for stream in (out, err):
            stream.seek(0)
        return Run(
            code=process.returncode,
            seconds=round(seconds, 1),
            peak_rss_mib=round(usage.ru_maxrss / 1024),
            output=out.read(),
            error=err.read().strip().rpartition("error: ")[2][:300],
        )
