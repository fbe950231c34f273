"""Who sends what when: drawn once, before the clock starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.simulator.scenario import SIZES, Arrivals, Scenario, capacity_per_s

__all__ = ["Traffic", "traffic_from_scenario"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Traffic:
    """Frames in the order of their arrival: arrays of equal length."""

    at_s: npt.NDArray[np.float64]
    device: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    """Index into `scenario.SIZES`."""
    is_stat: npt.NDArray[np.bool_]
    deadline_s: npt.NDArray[np.float64]
    """After the arrival; infinite: none."""


def traffic_from_scenario(scenario: Scenario, random: np.random.Generator) -> Traffic:
    """Draw all frames of a run."""
    count = round(scenario.load * capacity_per_s(scenario) * scenario.duration_s)
    device = _devices(scenario, count, random)
    if scenario.arrivals is Arrivals.POISSON:
        at_s = np.sort(random.uniform(0, scenario.duration_s, count))
    else:
        at_s, device = _periodic(scenario, device, random)
    shares = [share for _, share in SIZES]
    deadlines = np.array(scenario.deadlines_s or (np.inf,))
    return Traffic(
        at_s=at_s,
        device=device,
        size=random.choice(len(SIZES), count, p=shares),
        is_stat=random.random(count) < scenario.stat_share,
        deadline_s=random.choice(deadlines, count),
    )


def _devices(
    scenario: Scenario, count: int, random: np.random.Generator
) -> npt.NDArray[np.int64]:
    device = random.integers(0, scenario.devices, count)
    if scenario.greedy_share and scenario.devices > 1:
        device = random.integers(1, scenario.devices, count)
        device[random.random(count) < scenario.greedy_share] = 0
    return device


def _periodic(
    scenario: Scenario, device: npt.NDArray[np.int64], random: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Spread the frames of each device evenly, from a phase of its own."""
    order = np.argsort(device, kind="stable")
    sender = device[order]
    frames = np.bincount(sender, minlength=scenario.devices)
    first = np.concatenate([[0], np.cumsum(frames)[:-1]])
    number: npt.NDArray[Any] = np.arange(len(sender)) - first[sender]
    phase = random.random(scenario.devices)
    at_s = (number + phase[sender]) / frames[sender] * scenario.duration_s
    by_time = np.argsort(at_s, kind="stable")
    return at_s[by_time], sender[by_time]
