"""What company is worth: batches held to the frames that ran alone just before.

How long anything takes depends on what else the machine does: at the warm-up every
network has it for itself, later all of them and the decoders share it. So a batch of
one hour must not be held to a frame of another: that would tell the machine's load,
not what company gains. Neighbours ran under the same circumstances. The median of
several is taken, since company gathers behind a frame that takes long, and of two the
quicker, since the first of all takes longest.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["Compared", "Neighbours", "gains"]

_NEAR_S = 1.0
"""Between the end of a lone frame and the start of a batch: neighbours."""
_REMEMBERED = 9
"""Lone frames, and comparisons of each batch: a ratio does not age as times do."""
_NOTABLE_GAIN = 0.95
"""Time per frame in a larger batch, relative, below which company is worth a wait."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Batches of one size; times are those of a frame that runs alone."""

    batches: tuple[int, ...]
    """Frames in each that was compared, ascending from 1."""
    shares: tuple[float, ...]
    """What each frame of such a batch takes: the median."""
    larger: tuple[float, ...]
    """What each frame takes in all larger batches together: the smallest of many
    uncertain figures would be luck. None for the largest, so one fewer."""


def gains(known: Compared, batch: int) -> bool | None:
    """Say whether frames take notably less in larger batches than in this one.

    Between batches that were compared the time of a frame is linear.

    Returns:
        None where nothing larger was compared.
    """
    above = bisect_right(known.batches, batch)
    if above == len(known.batches):
        return None
    low, high = known.batches[above - 1], known.batches[above]
    less, more = known.shares[above - 1], known.shares[above]
    share = less + (more - less) * (batch - low) / (high - low)
    return known.larger[above - 1] < _NOTABLE_GAIN * share


class Neighbours:
    """Compares batches with lone frames of the same size. Not for two threads."""

    def __init__(self) -> None:
        """Know nothing."""
        self._alone: dict[tuple[int, int], deque[tuple[float, float]]] = {}
        self._shares: dict[tuple[int, int], dict[int, deque[float]]] = {}
        self._compared: Mapping[tuple[int, int], Compared] = MappingProxyType({})

    @property
    def compared(self) -> Mapping[tuple[int, int], Compared]:
        """What is known, by padded size; it does not change any more."""
        return self._compared

    def observe(
        self, size: tuple[int, int], batch: int, start_s: float, end_s: float
    ) -> None:
        """Learn from `batch` frames that ran; times are of one clock."""
        alone = self._alone.setdefault(size, deque(maxlen=_REMEMBERED))
        if batch == 1:
            alone.append((end_s - start_s, end_s))
            return
        # One that still ran when the batch began shared the accelerator with it.
        near = [took_s for took_s, at_s in alone if 0 <= start_s - at_s <= _NEAR_S]
        if not near:
            return
        shares = self._shares.setdefault(size, {})
        seen = shares.setdefault(batch, deque(maxlen=_REMEMBERED))
        seen.append((end_s - start_s) / batch / statistics.median_low(near))
        self._compared = MappingProxyType({**self._compared, size: _compared(shares)})

    def forget(self, size: tuple[int, int]) -> None:
        """Drop a size."""
        self._alone.pop(size, None)
        if self._shares.pop(size, None) is not None:
            kept = {s: known for s, known in self._compared.items() if s != size}
            self._compared = MappingProxyType(kept)


def _compared(shares: Mapping[int, deque[float]]) -> Compared:
    batches = sorted(shares)
    every = [shares[batch] for batch in batches]
    return Compared(
        batches=(1, *batches),
        shares=(1.0, *(statistics.median(seen) for seen in every)),
        larger=tuple(
            statistics.median(share for seen in every[place:] for share in seen)
            for place in range(len(every))
        ),
    )
