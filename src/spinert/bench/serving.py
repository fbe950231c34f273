"""A server of our own, watched: when it was ready, what it takes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from spinert.bench.errors import SubjectLost
from spinert.bench.processes import ProcessTree, new_child
from spinert.runtime.report.local_server import local_server

__all__ = ["WatchedServer", "cores_taken", "watched_server"]


@dataclass(frozen=True, kw_only=True)
class WatchedServer:
    """A server that is ready."""

    address: str
    processes: ProcessTree
    ready_s: float
    """From the command to being ready."""
    steps: list[dict[str, Any]] = field(default_factory=list)
    """What it logged on the way, and when: {"event", "at_s"}."""


@contextmanager
def watched_server(bundle: Path, config: Path | None) -> Iterator[WatchedServer]:
    """Run `spinert serve` until the block ends.

    Raises:
        Unavailable: It ended before it was ready.
        SubjectLost: It cannot be found among the processes of this one.
    """
    before = psutil.Process().children()
    start = time.perf_counter()
    steps: list[dict[str, Any]] = []

    def note(event: dict[str, Any]) -> None:
        name = str(event.get("event", ""))
        steps.append({"event": name, "at_s": time.perf_counter() - start})

    with local_server(bundle, note, config) as address:
        ready_s = time.perf_counter() - start
        process = new_child(before)
        if process is None:
            raise SubjectLost("the server ended as soon as it was ready; see its log")
        yield WatchedServer(
            address=address,
            processes=ProcessTree(process),
            ready_s=ready_s,
            steps=steps,
        )


@contextmanager
def cores_taken(count: int) -> Iterator[None]:
    """Let processes that are started in the block use `count` cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(before)[:count]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
