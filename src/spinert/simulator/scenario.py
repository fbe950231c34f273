"""What is simulated: frozen data, checked on construction."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final

from spinert.simulator.errors import ScenarioError

__all__ = ["Arrivals", "Network", "Scenario", "capacity_per_s"]

SIZES: Final = (((640, 448), 0.7), ((640, 512), 0.2), ((512, 640), 0.1))
"""Padded sizes of spine radiographs and how often each occurs."""


@unique
class Arrivals(StrEnum):
    """When devices send."""

    POISSON = "poisson"
    """At random, at a constant rate."""
    PERIODIC = "periodic"
    """At equal intervals, each device with a phase of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """How long a batch takes on one accelerator."""

    fixed_s: float = 0.004
    """For any batch."""
    frame_s: float = 0.001
    """For each frame of the most frequent size; others by their area."""
    spread: float = 0.05
    """Standard deviation of the logarithm of the time of a batch."""

    def __post_init__(self) -> None:
        """Reject networks that take no time."""
        _require(self.fixed_s >= 0, "a batch cannot take less than no time")
        _require(self.frame_s > 0, "a frame must take some time")
        _require(0 <= self.spread < 2, "the spread of times: 0 to 2")

    def batch_s(self, size: tuple[int, int], frames: int) -> float:
        """Return the median time of a batch."""
        (height, width), _ = SIZES[0]
        area = size[0] * size[1] / (height * width)
        return self.fixed_s + frames * self.frame_s * area


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One run."""

    accelerators: int = 1
    devices: int = 100
    load: float = 1.0
    """Frames offered, relative to what full batches could serve."""
    duration_s: float = 4.0
    """In which frames arrive; the first tenth is not counted."""
    arrivals: Arrivals = Arrivals.POISSON
    deadlines_s: tuple[float, ...] = (0.1,)
    """Each frame has one of these, counted from its arrival; empty: none."""
    stat_share: float = 0.05
    greedy_share: float = 0.0
    """Of all frames that the first device sends; the others share the rest."""
    network: Network = field(default_factory=Network)
    prepare_s: float = 0.0
    """Of a worker, for each frame before its network; 0: frames arrive prepared."""
    prepare_workers: int = 2
    """For each accelerator; all frames share them."""
    max_batch: int = 8
    max_delay_s: float = 0.002
    max_frames: int = 256
    """In flight at a time, for each accelerator."""
    has_prediction: bool = True
    """Costs are learned and used; else deadlines only order frames and expire."""
    stall_s: float = 0.0
    """By which one batch takes longer, the first after a third of the duration."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Reject what cannot be run."""
        _require(self.accelerators >= 1, "accelerators: from 1")
        _require(self.devices >= 1, "devices: from 1")
        _require(0 < self.load <= 100, "the load: above 0, up to 100")
        _require(0 < self.duration_s <= 3600, "the duration: up to an hour")
        _require(all(d > 0 for d in self.deadlines_s), "deadlines must be positive")
        _require(0 <= self.stat_share <= 1, "the share of STAT frames: 0 to 1")
        _require(0 <= self.greedy_share < 1, "the share of one device: 0 to below 1")
        _require(self.prepare_s >= 0, "preparing cannot take less than no time")
        _require(self.prepare_workers >= 1, "workers that prepare: from 1")
        _require(self.max_batch >= 1, "the largest batch: from 1")
        _require(self.max_delay_s >= 0, "the delay must not be negative")
        _require(self.stall_s >= 0, "a stall cannot take less than no time")
        _require(self.max_frames >= self.max_batch, "room for at least one batch")


def capacity_per_s(scenario: Scenario) -> float:
    """Return how many frames a second full batches of each size would serve.

    Preparing may be slower than that.
    """
    count = scenario.max_batch
    per_frame_s = sum(
        share * scenario.network.batch_s(size, count) / count for size, share in SIZES
    )
    return scenario.accelerators / per_frame_s


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ScenarioError(message)
