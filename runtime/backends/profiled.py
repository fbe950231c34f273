"""What a backend offers that can tell where the time within a network goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from spinert.runtime.backends import Arrays

__all__ = ["LayerTime", "ProfiledBackend"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerTime:
    """The layers of one name in one run of a network."""

    name: str
    """An operator type where the backend keeps operators apart, else the layer's
    own name, which lists what was fused into it."""
    count: int
    """How many layers it stands for."""
    duration_ms: float
    """Of all of them together."""


@runtime_checkable
class ProfiledBackend(Protocol):
    """What a backend offers besides `Backend` if it can time its layers."""

    def layer_times(
        self, role: str, inputs: Arrays, runs: int
    ) -> tuple[LayerTime, ...]:
        """Measure the layers of network `role`, in any order.

        It runs on its own, in a session or context beside the one that serves:
        profiling costs time, and whatever else runs meanwhile is measured with it.

        Args:
            role: A role that was loaded.
            inputs: As for `Backend.run`.
            runs: From 1; the mean of so many is told, after one that is not counted.

        Raises:
            BackendError: The network is not loaded, or cannot be profiled.
        """
        ...
