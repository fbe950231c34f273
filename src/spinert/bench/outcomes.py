"""What became of each frame of a load, wherever it was answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from spinert.proto import inference_pb2 as pb
from spinert.runtime.verdict import Receipt

__all__ = [
    "Outcome",
    "StageTime",
    "answered",
    "failures_of",
    "stages_from_receipt",
    "stages_from_wire",
    "throughput_per_s",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageTime:
    """One stage of one frame, in milliseconds after its arrival."""

    name: str
    start_ms: float
    duration_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One frame; times are of one clock, in seconds."""

    frame: int
    """Its index in the list of frames."""
    due_s: float
    """When it should have been sent; latency counts from here."""
    sent_s: float
    ended_s: float
    reason: str = ""
    """Why there is no answer, as in docs/errors.md; empty: there is one."""
    stages: tuple[StageTime, ...] = ()
    total_ms: float = 0.0
    """Of the receipt: from arrival to the answer being ready."""

    @property
    def latency_s(self) -> float:
        """Return the time from when the frame was due to its answer."""
        return self.ended_s - self.due_s


def answered(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return those that have an answer."""
    return [outcome for outcome in outcomes if not outcome.reason]


def failures_of(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Return how many frames have no answer, by reason."""
    counted = Counter(outcome.reason for outcome in outcomes if outcome.reason)
    return dict(sorted(counted.items()))


def throughput_per_s(outcomes: Sequence[Outcome]) -> float:
    """Return answers per second, from the first frame sent to the last answer."""
    good = answered(outcomes)
    if not good:
        return 0.0
    start_s = min(outcome.sent_s for outcome in outcomes)
    return len(good) / (max(outcome.ended_s for outcome in good) - start_s)


def stages_from_wire(receipt: pb.Receipt) -> dict[str, Any]:
    """Return `stages` and `total_ms` of an Outcome from a receipt on the wire."""
    stages = tuple(
        StageTime(name=s.name, start_ms=s.start_ms, duration_ms=s.duration_ms)
        for s in receipt.stages
    )
    return {"stages": stages, "total_ms": receipt.total_ms}


def stages_from_receipt(receipt: Receipt) -> dict[str, Any]:
    """Return the same from a receipt of the engine."""
    stages = tuple(
        StageTime(
            name=s.name, start_ms=1000 * s.start_s, duration_ms=1000 * s.duration_s
        )
        for s in receipt.stages
    )
    return {"stages": stages, "total_ms": 1000 * receipt.total_s}
