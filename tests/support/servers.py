"""A real `spinert serve` in a process of its own, and bundles it can serve."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.image import Photometric
from support.golden import write_golden_bundle

START_S = 60


def write_served_bundle(
    directory: Path, spec: pb.Bundle | None = None, *, cost_ms: int = 0
) -> Path:
    """Write the tiny bundle with a golden set of one frame: a server starts soon.

    `cost_ms` is the time that every call of a network takes.
    """
    frames = [("only", 96, 80, Photometric.MONOCHROME2)]
    return write_golden_bundle(
        directory, spec, frames=frames, batch_sizes=[1], cost_ms=cost_ms
    )


@dataclass
class RunningServer:
    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def events(self) -> list[dict[str, Any]]:
        """Return its log so far; every line must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self, timeout_s: float = 30) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


def toml_from(tables: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines)


@contextmanager
def serving(
    bundle: Path, work: Path, *, log_level: str = "INFO", **tables: Mapping[str, Any]
) -> Iterator[RunningServer]:
    """Run `spinert serve` on a free port until the block ends.

    `work` takes its config, log and state; `tables` are merged into the settings,
    as in `serving(bundle, tmp_path, engine={"max_batch": 2})`.
    """
    with launched(bundle, work, log_level=log_level, **tables) as server:
        server.address = wait_for_event(server, "ready")["address"]
        yield server


@contextmanager
def launched(
    bundle: Path,
    work: Path,
    *,
    log_level: str = "INFO",
    program: str = "support.serve",
    **tables: Mapping[str, Any],
) -> Iterator[RunningServer]:
    """As `serving`, without waiting until it is ready."""
    settings: dict[str, dict[str, Any]] = {
        "server": {"listen": "127.0.0.1:0"},
        "decode": {"workers": 1},
        "backend": {"name": "fake"},
        "golden": {"state_dir": str(work / "state")},
    }
    for name, table in tables.items():
        settings[name] = settings.get(name, {}) | dict(table)
    work.mkdir(parents=True, exist_ok=True)
    config, log = work / "config.toml", work / "server.log"
    config.write_text(toml_from(settings))
    command = [sys.executable, "-m", program, str(bundle), str(config)]
    paths = [str(Path(__file__).parents[1]), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, log_level], stderr=stderr, env=environment, cwd=work
        )
    try:
        yield RunningServer("", process, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for_event(server: RunningServer, name: str) -> dict[str, Any]:
    """Return the first event called `name`; fail when the server has ended."""
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        for line in server.log.read_text().splitlines():
            if f'"event": "{name}"' in line:
                found: dict[str, Any] = json.loads(line)
                return found
        if server.process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"no event {name!r}:\n{server.log.read_text()[-3000:]}")
