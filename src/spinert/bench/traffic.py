"""The open loop: latency against load, from a quarter of the capacity upwards."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from spinert.bench.arrivals import Pattern, Traffic, arrivals_from_traffic
from spinert.bench.figures import Figure
from spinert.bench.frames import LoadFrame
from spinert.bench.latencies import latency_summary
from spinert.bench.outcomes import Outcome, answered, failures_of, throughput_per_s
from spinert.bench.sending import closed_loop, open_loop, run_load

__all__ = [
    "LOAD_DEVICES",
    "TrafficPlan",
    "capacity_per_s",
    "measured_traffic",
    "traffic_figures",
]

LOADS: Final = (0.25, 0.5, 0.75, 0.9)
"""Shares of the capacity that frames arrive at."""
LOAD_DEVICES: Final = 8
"""Devices that these frames come from."""
DEVICE_LOAD: Final = 0.6
"""Share of the capacity while the number of devices is varied."""
_PARTS: Final = 5
"""Of the time of one load: their medians tell its noise."""
_LEAST_PART: Final = 4
"""Answers that make a median worth telling."""


@dataclass(frozen=True, kw_only=True)
class TrafficPlan:
    """What an open loop sends, one load after the other."""

    capacity_per_s: float
    seconds: float
    devices: tuple[int, ...]
    """How many send, one after the other, at DEVICE_LOAD."""
    pattern: Pattern
    seed: int = 0

    def loads(self) -> list[tuple[str, float, int]]:
        """Return (what is varied, rate, devices) of every load."""
        varied = [
            ("load", share * self.capacity_per_s, LOAD_DEVICES) for share in LOADS
        ]
        rate = DEVICE_LOAD * self.capacity_per_s
        return varied + [("devices", rate, count) for count in self.devices]


def capacity_per_s(
    address: str, frames: Sequence[LoadFrame], *, count: int, depth: int
) -> tuple[float, list[Outcome]]:
    """Return the throughput of a closed loop on the mix, and what became of it."""
    found = run_load(closed_loop(address, frames, count=count, depth=depth))
    return throughput_per_s(found), found


def measured_traffic(
    address: str,
    frames: Sequence[LoadFrame],
    plan: TrafficPlan,
) -> list[dict[str, Any]]:
    """Return JSON values of every load."""
    told = []
    for varied, rate, devices in plan.loads():
        traffic = Traffic(
            rate_per_s=rate,
            devices=devices,
            seconds=plan.seconds,
            pattern=plan.pattern,
            frames=len(frames),
            seed=plan.seed,
        )
        arrivals = arrivals_from_traffic(traffic)
        outcomes = run_load(open_loop(address, frames, arrivals))
        that_sent = {"devices_that_sent": len({one.device for one in arrivals})}
        told.append(_told(varied, traffic, outcomes) | that_sent)
    return told


def traffic_figures(loads: Sequence[dict[str, Any]], capacity: float) -> list[Figure]:
    """Return the medians of the parts of each load, to compare two reports by.

    Args:
        loads: Of `measured_traffic`.
        capacity: That they are shares of, in frames per second.
    """
    return [
        Figure(
            name=f"traffic.{_place(load, capacity)}.latency_p50",
            unit="ms",
            values=tuple(load["p50_ms_by_part"]),
            lower_is_better=True,
        )
        for load in loads
        if load["p50_ms_by_part"]
    ]


def _place(load: dict[str, Any], capacity: float) -> str:
    """Name a load by what is varied, so that another list of loads compares."""
    if load["varied"] == "load":
        return f"load.{load['offered_per_s'] / capacity:.0%}"
    return f"devices.{load['devices']}"


def _told(varied: str, traffic: Traffic, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    good = answered(outcomes)
    late_s = [outcome.sent_s - outcome.due_s for outcome in outcomes]
    return {
        "varied": varied,
        "pattern": str(traffic.pattern),
        "devices": traffic.devices,
        "seconds": traffic.seconds,
        "offered_per_s": traffic.rate_per_s,
        "sent": len(outcomes),
        "answered_per_s": throughput_per_s(outcomes),
        "latency": latency_summary(outcome.latency_s for outcome in good),
        # Includes the wait for the server's credit, which is a part of the latency.
        "sent_late": latency_summary(late_s),
        "failures": failures_of(outcomes),
        "p50_ms_by_part": _by_part(good, traffic.seconds),
    }


def _by_part(good: Sequence[Outcome], seconds: float) -> list[float]:
    if not good:
        return []
    start_s = min(outcome.due_s for outcome in good)
    parts: list[list[float]] = [[] for _ in range(_PARTS)]
    for outcome in good:
        part = int(_PARTS * (outcome.due_s - start_s) / seconds)
        parts[min(part, _PARTS - 1)].append(1000 * outcome.latency_s)
    return [statistics.median(part) for part in parts if len(part) >= _LEAST_PART]
