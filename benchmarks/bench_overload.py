"""The engine under 1, 3 and 10 times the load it can serve, with deadlines.

A backend of fixed cost stands in for the networks, so that the scheduler is what is
measured: goodput against its peak, accepted frames against their deadline, the time
that a refusal takes, and how far stages of successive batches overlap. Rounds
alternate between the loads. python bench_overload.py [--rounds N] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from harness import machine, write_json
from tiny_bundle import write_tiny_bundle

from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.bundle import load_bundle
from spinert.runtime.config import DecodeSettings, EngineSettings, Settings
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.engine.engine import Engine
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.errors import RefusedNow
from spinert.runtime.frame import Answer, FrameRequest, RawFrame
from spinert.runtime.image import Photometric

LOADS = (1.0, 3.0, 10.0)
COST_MS, MAX_BATCH, DEADLINE_S = 40.0, 8, 0.4
CAPACITY_PER_S = MAX_BATCH / (COST_MS / 1000)
DEVICES = 16
NETWORKS = ("classifier", "detector")


@dataclass
class Round:
    """What came of one load."""

    seconds: float = 0.0
    """From the start to the last answer: what is still queued when the load ends is
    worked off in time that counts."""
    sent_late_s: list[float] = field(default_factory=list)
    """How far behind its time each frame was sent: is the load what it should be?"""
    answers: list[Answer] = field(default_factory=list)
    arrived_s: list[float] = field(default_factory=list)
    """Of the answered frames."""
    late: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    refusing_s: list[float] = field(default_factory=list)

    @property
    def goodput_per_s(self) -> float:
        return len(self.answers) / self.seconds


@contextmanager
def fake_engine(folder: Path) -> Iterator[Engine]:
    bundle = load_bundle(write_tiny_bundle(folder, edge=64, channels=4))
    for network in bundle.spec.networks.values():
        network.import_options["fake.cost_ms"] = str(COST_MS)
    backend = FakeBackend(BackendOptions())
    load_networks(backend, bundle)
    limits = EngineSettings(
        max_batch=MAX_BATCH, max_frames=1024, max_frames_per_device=1024
    )
    # Raw frames are not decoded, but an engine has a pool.
    settings = Settings(engine=limits, decode=DecodeSettings(workers=1))
    with (
        DecodePool(settings.decode) as pool,
        Engine(bundle, BackendSwitch(backend), pool, settings) as engine,
    ):
        pool.wait_ready()
        engine.warm_up()
        yield engine


def frame() -> RawFrame:
    pixels = np.linspace(0, 255, 80 * 64).astype(np.uint8)
    return RawFrame(
        rows=80,
        columns=64,
        bits_stored=8,
        is_signed=False,
        photometric=Photometric.MONOCHROME2,
        data=pixels.tobytes(),
    )


def offered(engine: Engine, load: float, seconds: float, seed: int) -> Round:
    """Offer Poisson arrivals, whatever comes back: an open loop."""
    found, content = Round(), frame()
    random = np.random.default_rng(seed)
    count = round(load * CAPACITY_PER_S * seconds)
    at_s = np.sort(random.uniform(0, seconds, count)).tolist()
    waiting: list[tuple[float, Future[Answer]]] = []
    began_s = time.monotonic()
    for number, due_s in enumerate(at_s):
        while (left_s := began_s + due_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.001))
        arrived_s = time.monotonic()
        found.sent_late_s.append(arrived_s - began_s - due_s)
        request = FrameRequest(
            content=content,
            arrived_s=arrived_s,
            deadline_s=arrived_s + DEADLINE_S,
            device=str(number % DEVICES),
        )
        try:
            waiting.append((arrived_s, engine.submit(request)))
        except RefusedNow as error:
            found.refusing_s.append(time.monotonic() - arrived_s)
            found.refused[error.reason] += 1
    for arrived_s, future in waiting:
        found.accepted += 1
        try:
            found.answers.append(future.result())
            found.arrived_s.append(arrived_s)
        except RefusedNow:
            found.late += 1
    both = zip(found.arrived_s, found.answers, strict=True)
    found.seconds = max(at + answer.receipt.total_s for at, answer in both) - began_s
    return found


# ------------------------------------------------------------------ pipelining


def spans(found: Round, names: Sequence[str]) -> list[tuple[float, float]]:
    """Return when any of some stages ran, merged, in seconds of the clock."""
    both = zip(found.answers, found.arrived_s, strict=True)
    raw = sorted(
        (arrived_s + stage.start_s, arrived_s + stage.start_s + stage.duration_s)
        for answer, arrived_s in both
        for stage in answer.receipt.stages
        if stage.name in names
    )
    merged: list[tuple[float, float]] = []
    for start_s, end_s in raw:
        if merged and start_s <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end_s)
        else:
            merged.append((start_s, end_s))
    return merged


def overlap(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> float:
    """Return the part of `one` in which `other` ran too."""
    shared_s = sum(
        max(0.0, min(a_end, b_end) - max(a, b))
        for a, a_end in one
        for b, b_end in other
    )
    total_s = sum(end_s - start_s for start_s, end_s in one)
    return shared_s / total_s if total_s else 0.0


def pipelining(found: Round) -> dict[str, float]:
    networks = spans(found, NETWORKS)
    return {
        "preparing_while_a_network_runs": overlap(
            spans(found, ("decode", "prepare")), networks
        ),
        "deciding_while_a_network_runs": overlap(spans(found, ("decide",)), networks),
        "detector_while_the_classifier_runs": overlap(
            spans(found, ("detector",)), spans(found, ("classifier",))
        ),
    }


# --------------------------------------------------------------------- figures


def figures(rounds: Sequence[Round], peak_per_s: float) -> dict[str, Any]:
    used = [
        answer.receipt.total_s / DEADLINE_S
        for found in rounds
        for answer in found.answers
    ]
    # An accepted frame that was not answered in time missed its whole deadline.
    used += [1.01] * sum(found.late for found in rounds)
    refusing_ms = [1000 * s for found in rounds for s in found.refusing_s]
    reasons: Counter[str] = sum((found.refused for found in rounds), Counter())
    batches = Counter(
        batch.size
        for found in rounds
        for answer in found.answers
        for batch in answer.receipt.batches
    )
    frames = sum(batches.values())
    return {
        "goodput_over_peak": statistics.median(r.goodput_per_s for r in rounds)
        / peak_per_s,
        "accepted_too_late": sum(r.late for r in rounds)
        / max(1, sum(r.accepted for r in rounds)),
        "accepted_p99_over_deadline": float(np.percentile(used, 99)),
        "refusing_p50_ms": float(np.percentile(refusing_ms, 50)) if refusing_ms else 0,
        "refusing_p99_ms": float(np.percentile(refusing_ms, 99)) if refusing_ms else 0,
        "refused": dict(reasons),
        "sent_late_p99_ms": float(
            np.percentile([1000 * s for r in rounds for s in r.sent_late_s], 99)
        ),
        "frames_in_full_batches": batches[MAX_BATCH] / max(1, frames),
        "pipelining": pipelining(rounds[-1]),
    }


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    found: dict[float, list[Round]] = {load: [] for load in LOADS}
    with tempfile.TemporaryDirectory() as folder, fake_engine(Path(folder)) as engine:
        offered(engine, 1.0, seconds, seed=99)
        for number in range(rounds):
            for load in LOADS:
                found[load].append(offered(engine, load, seconds, seed=number))
    peaks = [
        statistics.median(r.goodput_per_s for r in runs) for runs in found.values()
    ]
    peak_per_s = max(peaks)
    return {
        "cost_ms": COST_MS,
        "max_batch": MAX_BATCH,
        "deadline_ms": 1000 * DEADLINE_S,
        "peak_over_full_batches": peak_per_s / CAPACITY_PER_S,
        "loads": {
            f"{load:g}": figures(runs, peak_per_s) for load, runs in found.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results = {"machine": machine(), **measure(arguments.rounds, arguments.seconds)}
    if arguments.output:
        write_json(arguments.output, results)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
