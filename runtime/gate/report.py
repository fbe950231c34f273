"""What the gate found, as values."""

from __future__ import annotations

from dataclasses import dataclass

from spinert.runtime.errors import BundleError, Reason

__all__ = ["GateMeasure", "GateReport", "NetworkGate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GateMeasure:
    """The difference of one output over all runs."""

    output: str
    measured_max_abs: float
    measured_mean_abs: float
    tolerance_abs: float

    @property
    def is_within(self) -> bool:
        """Tell whether the largest difference may be; not a number may not."""
        return self.measured_max_abs <= self.tolerance_abs


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkGate:
    """How one network did."""

    network: str
    file: str
    """The graph that ran, relative to the bundle."""
    precision: str
    frames: int
    """Golden frames, each compared several times."""
    batch_sizes: tuple[int, ...]
    measures: tuple[GateMeasure, ...]
    decision_flips: int
    """Frames whose decision, and detections whose side of the low-confidence
    cut-off, differ from the reference; within tolerance this may be."""
    seconds: float
    is_recomputed: bool = False
    """These answers are those of the network's split graphs."""
    failure: str = ""
    """What was wrong first; empty: it passed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateReport:
    """How all networks of a bundle did."""

    networks: tuple[NetworkGate, ...]

    @property
    def failure(self) -> str:
        """Return what was wrong first; empty: all passed."""
        return next((gate.failure for gate in self.networks if gate.failure), "")

    @property
    def frames(self) -> int:
        """Return how many golden frames were compared."""
        return max(gate.frames for gate in self.networks)

    def require_passed(self) -> None:
        """Do nothing if every network passed.

        Raises:
            BundleError: GOLDEN_SET_FAILED, with what was wrong first.
        """
        if self.failure:
            raise BundleError(Reason.GOLDEN_SET_FAILED, self.failure)
