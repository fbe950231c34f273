"""What a frame takes in a stage that serves frames one by one, learned by kind."""

from __future__ import annotations

import math
import threading
from collections import deque
from types import MappingProxyType
from typing import Final

from spinert.runtime.engine.costs import (
    UNKNOWN_COSTS,
    Costs,
    cost_from_runs,
    is_held_up,
)

__all__ = ["Durations"]

_FRAME: Final = (0, 0)
"""Stands for the padded size, which is not known yet."""
_REMEMBERED: Final = 9
_FEWEST: Final = 3
"""Runs that are needed to say anything: a first one is often slower."""


class Durations:
    """Learns from frames that went through; safe for any thread.

    Kinds are kept apart: a raw frame is not expected to take as long as the file of
    somebody else. What holds up the machine holds up as many frames as there are
    workers; they count as one.
    """

    def __init__(self, workers: int) -> None:
        """Know nothing of a stage that works on `workers` frames at a time."""
        self.workers = workers
        self._lock = threading.Lock()
        self._runs: dict[str, deque[float]] = {}
        self._costs: dict[str, Costs] = {}
        self._held_up_s: dict[str, float] = {}
        """When the last frame of a kind that was held up had ended."""

    def costs(self, kind: str) -> Costs:
        """Return what is known of a kind: of batches of one, in no size."""
        return self._costs.get(kind, UNKNOWN_COSTS)

    def observe(self, kind: str, start_s: float, end_s: float) -> None:
        """Learn from a frame that was worked on from `start_s` to `end_s`."""
        if end_s <= start_s:
            return
        with self._lock:
            if self._was_told(kind, start_s, end_s):
                return
            runs = self._runs.setdefault(kind, deque(maxlen=_REMEMBERED))
            runs.append(end_s - start_s)
            if len(runs) < _FEWEST:
                return
            cost = cost_from_runs(runs)
            self._costs[kind] = Costs(
                measured=MappingProxyType({_FRAME: ((1, cost),)}),
                usual=_FRAME,
                pace_s=cost.typical_s / self.workers,
                checked_s=end_s,
            )

    def _was_told(self, kind: str, start_s: float, end_s: float) -> bool:
        """Say whether a frame was held up together with one that counts already."""
        cost = self.costs(kind).of(_FRAME, 1)
        if cost is None or not is_held_up(end_s - start_s, cost.typical_s):
            return False
        if start_s < self._held_up_s.get(kind, -math.inf):
            return True
        self._held_up_s[kind] = end_s
        return False
