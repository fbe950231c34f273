"""How throughput grows with batch, devices and cores; and how a start goes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spinert.bench.figures import Figure
from spinert.bench.frames import LoadFrame
from spinert.bench.latencies import latency_summary
from spinert.bench.outcomes import Outcome, answered, failures_of, throughput_per_s
from spinert.bench.pipeline import Networks
from spinert.bench.sending import closed_loop, run_load
from spinert.bench.serving import cores_taken, watched_server

__all__ = [
    "Subject",
    "batch_scaling",
    "cold_start",
    "cold_start_figures",
    "core_scaling",
    "device_scaling",
]

_DEVICES: Final = (1, 2, 4, 8, 16)
_BATCHES: Final = (1, 2, 4, 8, 16, 32)
_STARTS: Final = 3
_STATE: Final = "XDG_STATE_HOME"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A bundle as a server of our own serves it."""

    bundle: Path
    config: Path | None
    has_state: bool
    """The settings say where certificates are kept; starts are not moved then."""


def batch_scaling(
    networks: Networks, frame: LoadFrame, *, max_batch: int, rounds: int
) -> list[dict[str, Any]]:
    """Return milliseconds per image of each network alone, by batch; rounds."""
    told = []
    for batch in (size for size in _BATCHES if size <= max_batch):
        inputs = networks.inputs(frame, batch)
        for role, fed in inputs.items():
            networks.run_s({role: fed})
            spent = [1000 * networks.run_s({role: fed}) / batch for _ in range(rounds)]
            told.append({"network": role, "batch": batch, "ms_per_image": spent})
    return told


def device_scaling(
    address: str, frame: LoadFrame, *, count: int
) -> list[dict[str, Any]]:
    """Return throughput and latency of devices that send one frame at a time."""
    told = []
    for devices in _DEVICES:
        load = closed_loop(
            address, [frame], count=max(count, 2 * devices), depth=1, devices=devices
        )
        told.append({"devices": devices, **_told(run_load(load))})
    return told


def core_scaling(
    subject: Subject, frame: LoadFrame, *, count: int, depth: int
) -> list[dict[str, Any]]:
    """Return the throughput of servers that may use some of the cores only.

    The load is not bound: on few cores it takes from what the server is measured on.
    """
    told = []
    for cores in _core_counts(len(os.sched_getaffinity(0))):
        with (
            cores_taken(cores),
            watched_server(subject.bundle, subject.config) as server,
        ):
            run_load(closed_loop(server.address, [frame], count=2, depth=1))
            load = closed_loop(server.address, [frame], count=count, depth=depth)
            told.append({"cores": cores, **_told(run_load(load))})
    return told


def cold_start(subject: Subject) -> dict[str, Any]:
    """Return how long it takes from the command to being ready.

    The first start proves the golden set and stores its certificate; those after it
    check one golden frame.
    """
    with tempfile.TemporaryDirectory(prefix="spinert-state-") as folder:
        moved = None if subject.has_state else folder
        with _state_in(moved):
            starts = []
            for _ in range(1 + _STARTS):
                with watched_server(subject.bundle, subject.config) as server:
                    starts.append(server)
    return {
        "first_s": starts[0].ready_s if moved else None,
        "again_s": [server.ready_s for server in starts[1:]],
        "steps": starts[-1].steps,
    }


def cold_start_figures(told: dict[str, Any]) -> list[Figure]:
    """Return what two reports are compared by."""
    return [
        Figure(
            name="cold_start.ready",
            unit="s",
            values=tuple(told["again_s"]),
            lower_is_better=True,
        )
    ]


@contextmanager
def _state_in(folder: str | None) -> Iterator[None]:
    """Let servers started in the block keep their state in `folder`."""
    before = os.environ.get(_STATE)
    if folder is not None:
        os.environ[_STATE] = folder
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_STATE, None)
        else:
            os.environ[_STATE] = before


def _core_counts(cores: int) -> Sequence[int]:
    """Return 1, 2, 4 ... and all of them."""
    powers = (2**exponent for exponent in range(cores.bit_length()))
    return sorted({*(count for count in powers if count <= cores), cores})


def _told(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "per_s": throughput_per_s(outcomes),
        "latency": latency_summary(o.latency_s for o in answered(outcomes)),
        "failures": failures_of(outcomes),
    }
