"""Who owns each millisecond of a frame. Pure.

Stages of a receipt overlap: both networks run at once where a device allows it. An
instant that several stages share is divided equally among them, so that owners add
up to the whole.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from spinert.bench.outcomes import Outcome, StageTime

__all__ = ["BETWEEN", "OUTSIDE", "owners_of", "waterfall_of"]

BETWEEN: Final = "between stages"
"""Inside the engine, in no stage: handing over, waiting for a thread."""
OUTSIDE: Final = "outside the engine"
"""Client, wire and front: what the receipt does not cover."""


def owners_of(stages: Sequence[StageTime], total_ms: float) -> dict[str, float]:
    """Return milliseconds by stage, and BETWEEN; they add up to `total_ms`."""
    owners = dict.fromkeys((stage.name for stage in stages), 0.0)
    owners[BETWEEN] = 0.0
    for start, end in pairwise(_edges(stages, total_ms)):
        active = [
            stage.name
            for stage in stages
            if stage.start_ms < end and stage.start_ms + stage.duration_ms > start
        ]
        for name in active or [BETWEEN]:
            owners[name] += (end - start) / max(1, len(active))
    return owners


def waterfall_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return JSON values: owners on average, and when each stage ran in the median.

    Averages add up to the mean latency; medians would not.

    Args:
        outcomes: Answered, with receipts, one at a time.
    """
    sums: dict[str, float] = {}
    for outcome in outcomes:
        outside_ms = 1000 * outcome.latency_s - outcome.total_ms
        owned = owners_of(outcome.stages, outcome.total_ms) | {OUTSIDE: outside_ms}
        for name, value in owned.items():
            sums[name] = sums.get(name, 0.0) + value
    count = max(1, len(outcomes))
    return {
        "mean_ms": {name: value / count for name, value in sums.items()},
        "stages": _typical(outcomes),
        "total_ms": _median([1000 * o.latency_s for o in outcomes]),
        "outside_ms": _median([1000 * o.latency_s - o.total_ms for o in outcomes]),
    }


def _edges(stages: Sequence[StageTime], total_ms: float) -> list[float]:
    edges = {0.0, total_ms}
    for stage in stages:
        edges |= {stage.start_ms, stage.start_ms + stage.duration_ms}
    # Clocks of stages are read one after the other: none may reach out of the frame.
    return sorted(edge for edge in edges if 0 <= edge <= total_ms)


def _typical(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the median start and duration of each stage that most frames have."""
    seen: dict[str, list[StageTime]] = {}
    for outcome in outcomes:
        for stage in outcome.stages:
            seen.setdefault(stage.name, []).append(stage)
    told = [
        {
            "name": name,
            "start_ms": _median([stage.start_ms for stage in stages]),
            "duration_ms": _median([stage.duration_ms for stage in stages]),
        }
        for name, stages in seen.items()
        if 2 * len(stages) > len(outcomes)
    ]
    return sorted(told, key=lambda stage: stage["start_ms"])


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0
