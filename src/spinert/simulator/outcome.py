"""What came of a run, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from spinert.simulator.scenario import Scenario, capacity_per_s

__all__ = ["Outcome", "Tally", "jain", "outcome_from_tally"]


@dataclass(eq=False, kw_only=True, slots=True)
class Tally:
    """What is counted while the clock runs."""

    devices: int
    offered: list[int] = field(init=False)
    in_time: list[int] = field(init=False)
    latencies_s: list[float] = field(default_factory=list)
    """Of frames that were answered, from arrival to answer."""
    used: list[float] = field(default_factory=list)
    """Of accepted frames with a deadline: the part of it that they took; late ones
    count with what they took until they were given up."""
    late: int = 0
    """Accepted, and not answered before their deadline."""
    refused: Counter[str] = field(default_factory=Counter)
    batches: Counter[int] = field(default_factory=Counter)
    """Batches by their size."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Batches by why they were released."""

    def __post_init__(self) -> None:
        """Count nothing yet."""
        self.offered = [0] * self.devices
        self.in_time = [0] * self.devices


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The figures of one run, over the time that counts."""

    scenario: Scenario
    capacity_per_s: float
    offered_per_s: float
    goodput_per_s: float
    """Frames answered before their deadline."""
    late_per_s: float
    """Frames accepted and not answered before their deadline."""
    refused: Mapping[str, int]
    """Frames by the reason of their refusal."""
    latency_ms: Mapping[str, float]
    """Percentiles of answered frames; empty where there is none."""
    deadline_p99: float | None
    """Part of its deadline that 99 of 100 accepted frames stay below."""
    fairness: float
    """Jain's index of the devices' shares of what each asked for."""
    greedy_served: float | None
    """Part of the greedy device's frames that were answered in time."""
    others_served: float | None
    """The same of all other devices."""
    mean_batch: float
    batches: Mapping[int, int]
    reasons: Mapping[str, int]
    latency_curve_ms: Sequence[float]
    """101 quantiles of answered frames; empty where there is none."""


def jain(shares: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """Return Jain's index of fairness: 1 where all are equal, 1/n where one has all.

    After Jain, Chiu and Hawe, "A quantitative measure of fairness", DEC-TR-301, 1984.
    """
    values = np.asarray(shares, float)
    squares = float((values**2).sum())
    if not squares:
        return 1.0
    return float(values.sum()) ** 2 / (len(values) * squares)


def outcome_from_tally(tally: Tally, scenario: Scenario, counted_s: float) -> Outcome:
    """Sum a run up.

    Args:
        tally: What was counted.
        scenario: What was run.
        counted_s: Time in which the counted frames arrived.
    """
    offered, in_time = np.array(tally.offered), np.array(tally.in_time)
    senders = offered > 0
    served = in_time[senders] / offered[senders]
    latencies_ms = 1000 * np.array(tally.latencies_s)
    frames = sum(size * count for size, count in tally.batches.items())
    has_greedy = scenario.greedy_share > 0 and scenario.devices > 1
    return Outcome(
        scenario=scenario,
        capacity_per_s=capacity_per_s(scenario),
        offered_per_s=float(offered.sum()) / counted_s,
        goodput_per_s=float(in_time.sum()) / counted_s,
        late_per_s=tally.late / counted_s,
        refused=dict(sorted(tally.refused.items())),
        latency_ms=_percentiles(latencies_ms),
        deadline_p99=float(np.percentile(tally.used, 99)) if tally.used else None,
        fairness=jain(served),
        greedy_served=_part(in_time[:1], offered[:1]) if has_greedy else None,
        others_served=_part(in_time[1:], offered[1:]) if has_greedy else None,
        mean_batch=frames / max(1, sum(tally.batches.values())),
        batches=dict(sorted(tally.batches.items())),
        reasons=dict(sorted(tally.reasons.items())),
        latency_curve_ms=_curve(latencies_ms),
    )


def _percentiles(latencies_ms: npt.NDArray[np.float64]) -> dict[str, float]:
    if not len(latencies_ms):
        return {}
    values = np.percentile(latencies_ms, (50, 90, 99, 100))
    return dict(zip(("p50", "p90", "p99", "max"), values.tolist(), strict=True))


def _curve(latencies_ms: npt.NDArray[np.float64]) -> list[float]:
    if not len(latencies_ms):
        return []
    return list(np.percentile(latencies_ms, np.arange(101)).tolist())


def _part(some: npt.NDArray[np.int64], of: npt.NDArray[np.int64]) -> float:
    return float(some.sum()) / max(1, int(of.sum()))
