"""When frames arrive in an open loop: decided before the first one is sent.

A load that waits for answers before it sends slows down with the server, and then
measures how it was spared (coordinated omission). Here each frame has its time, and
its latency counts from then, sent or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

__all__ = ["Arrival", "Pattern", "Traffic", "arrivals_from_traffic"]


class Pattern(StrEnum):
    """How the frames of a device follow each other."""

    POISSON = "poisson"
    """At random, independent of each other: many devices, or people."""
    PERIODIC = "periodic"
    """In equal steps, each device with a phase of its own: fluoroscopy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """What an open loop sends."""

    rate_per_s: float
    """Of all devices together."""
    devices: int
    seconds: float
    pattern: Pattern
    frames: int
    """Distinct frames; all of them arrive as often, in a random order."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what sends nothing.

        Raises:
            ValueError: A value is out of range.
        """
        if (
            min(self.rate_per_s, self.seconds) <= 0
            or min(self.devices, self.frames) < 1
        ):
            raise ValueError("traffic needs a rate, a time, devices and frames above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """One frame to send."""

    at_s: float
    """After the start."""
    device: int
    frame: int


def arrivals_from_traffic(traffic: Traffic) -> tuple[Arrival, ...]:
    """Return all arrivals, in their order; the same traffic gives the same ones."""
    rng = np.random.default_rng([traffic.seed, 17])
    if traffic.pattern is Pattern.POISSON:
        times, devices = _poisson(traffic, rng)
    else:
        times, devices = _periodic(traffic, rng)
    frames = _in_turns(traffic.frames, len(times), rng)
    return tuple(
        Arrival(at_s=float(at), device=int(device), frame=int(frame))
        for at, device, frame in zip(times, devices, frames, strict=True)
    )


def _poisson(
    traffic: Traffic, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a Poisson process; devices at random make each of them one, too."""
    count = int(rng.poisson(traffic.rate_per_s * traffic.seconds))
    # Given their number, arrivals of a Poisson process are uniform.
    times = np.sort(rng.uniform(0, traffic.seconds, max(1, count)))
    return times, rng.integers(0, traffic.devices, len(times))


def _in_turns(frames: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Shuffle all frames again and again: a short load has the mix of a long one."""
    turns = -(-count // frames)
    each = np.tile(np.arange(frames), (turns, 1))
    return rng.permuted(each, axis=1).ravel()[:count]


def _periodic(
    traffic: Traffic, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    step_s = traffic.devices / traffic.rate_per_s
    phases = rng.uniform(0, min(step_s, traffic.seconds), traffic.devices)
    each = [np.arange(phase, traffic.seconds, step_s) for phase in phases]
    times = np.concatenate(each)
    devices = np.repeat(np.arange(traffic.devices), [len(own) for own in each])
    order = np.argsort(times, kind="stable")
    return times[order], devices[order]
