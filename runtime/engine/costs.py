"""What a batch costs: learned from those that ran, asked by whoever decides.

Decisions look at a `Costs`, which never changes; `CostModel` makes a new one after
every batch. A cost is an order statistic of the last nine runs, so that one run that
was held up has no effect, and five runs are enough to follow a change. What is thought
too dear is not run any more, so that nothing would show that it is not: therefore one
run alone does not make a batch dearer than its frames are without company. Whether
company gains is not read from costs, which may be of different hours, but from
`neighbours`.
"""

from __future__ import annotations

import math
import statistics
import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType

from spinert.runtime.engine.neighbours import Compared, Neighbours, gains

__all__ = [
    "UNKNOWN_COSTS",
    "Cost",
    "CostModel",
    "Costs",
    "Proof",
    "Size",
    "cost_from_runs",
    "is_held_up",
]

Size = tuple[int, int]
"""Padded (height, width)."""

_REMEMBERED = 9
_HELD_UP = 4.0
"""Times the typical: what takes longer was held up by something else."""
_PACED = 16
_MOST_SIZES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Time of one batch."""

    typical_s: float
    late_s: float
    """Hardly any run takes longer."""

    def scaled(self, factor: float) -> Cost:
        """Return `factor` times as much."""
        return Cost(typical_s=factor * self.typical_s, late_s=factor * self.late_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """How sure it is what frames of one size take."""

    least_s: float
    """A frame takes no less: of all batches measured, the shortest typical time."""
    runs: int
    """That are remembered of this very size."""
    checked_s: float
    """When the last of them ended."""


Curve = tuple[tuple[int, Cost], ...]
"""(frames in the batch, its cost), ascending."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What is known of one network at one moment."""

    measured: Mapping[Size, Curve] = field(default_factory=lambda: MappingProxyType({}))
    usual: Size | None = None
    """Of most recent batches."""
    pace_s: float = 0.0
    """Recent time per frame while the network was busy; 0 while unknown."""
    checked_s: float = -math.inf
    """When a batch ended last, of any size."""
    proofs: Mapping[Size, Proof] = field(default_factory=lambda: MappingProxyType({}))
    """By size: others tell nothing of it."""
    compared: Mapping[Size, Compared] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """What company is worth."""

    def of(self, size: Size, batch: int) -> Cost | None:
        """Return the cost of `batch` frames of `size`; None where none was measured.

        Linear between measured batches. Above them a frame costs as much as in the
        largest. Below them no less than its share of the smallest and no more than
        all of it: those are `typical_s` and `late_s`.
        """
        curve = self.measured.get(size)
        if not curve:
            return None
        smallest, least = curve[0]
        if batch < smallest:
            share = least.typical_s * batch / smallest
            return Cost(typical_s=share, late_s=least.late_s)
        for (below, low), (above, high) in pairwise(curve):
            if batch <= above:
                return _between(low, high, (batch - below) / (above - below))
        largest, most = curve[-1]
        return most.scaled(batch / largest)

    def about(self, size: Size, batch: int) -> Cost | None:
        """Return the cost, where need be by the area from the size nearest to it.

        None where nothing was measured.
        """
        if size in self.measured or not self.measured:
            return self.of(size, batch)
        area = size[0] * size[1]
        near = min(self.measured, key=lambda known: abs(known[0] * known[1] - area))
        cost = self.of(near, batch)
        return cost.scaled(area / max(1, near[0] * near[1])) if cost else None

    def gains(self, size: Size, batch: int) -> bool | None:
        """Say whether a larger batch takes notably less time per frame.

        A size of which no larger batch was compared is taken to behave like the one
        nearest in area of which one was. None where there is none.
        """
        own = self.compared.get(size)
        found = gains(own, batch) if own else None
        if found is not None:
            return found
        area = size[0] * size[1]
        others = [
            (abs(other[0] * other[1] - area), other, told)
            for other, known in self.compared.items()
            if (told := gains(known, batch)) is not None
        ]
        return min(others)[2] if others else None


UNKNOWN_COSTS = Costs()
"""Before anything has run."""


class CostModel:
    """Learns the costs of one network from its batches; safe for any thread."""

    def __init__(self) -> None:
        """Know nothing."""
        self._lock = threading.Lock()
        self._costs = UNKNOWN_COSTS
        self._ended_s = -math.inf
        self._forget(None)

    @property
    def costs(self) -> Costs:
        """What is known now."""
        return self._costs

    def observe(
        self,
        size: Size,
        batch: int,
        *,
        start_s: float,
        end_s: float,
        origin: Hashable = None,
    ) -> None:
        """Learn from a batch that ran: of the time of two at once, each its own part.

        Args:
            size: Padded (height, width) of its frames.
            batch: Frames in it.
            start_s: When it began, on a clock of the caller.
            end_s: When its outputs were there. A clock that stands still tells
                nothing.
            origin: What ran it. Another one makes all earlier runs void.
        """
        if end_s <= start_s:
            return
        with self._lock:
            if origin != self._origin:
                self._forget(origin)
            # Where two batches overlap, each has only its own part of the time.
            busy_s = end_s - max(start_s, min(self._ended_s, end_s))
            self._ended_s = max(end_s, self._ended_s)
            self._sizes.append(size)
            runs = self._runs.setdefault((size, batch), deque(maxlen=_REMEMBERED))
            # None where they were told in another order than they ended in.
            runs.append(busy_s or end_s - start_s)
            cost = cost_from_runs(runs)
            if len(runs) == 1:
                cost = self._no_dearer(size, batch, cost)
            self._neighbours.observe(size, batch, start_s, end_s)
            self._paces.append((batch, min(busy_s, 2 * cost.typical_s)))
            measured = self._measured(size, batch, cost)
            self._proofs[size] = self._proof_of(size, end_s)
            self._costs = Costs(
                measured=measured,
                usual=statistics.mode(self._sizes),
                pace_s=_pace_s(self._paces),
                checked_s=self._ended_s,
                proofs=MappingProxyType(dict(self._proofs)),
                compared=self._neighbours.compared,
            )

    def _forget(self, origin: Hashable) -> None:
        self._origin = origin
        self._runs: dict[tuple[Size, int], deque[float]] = {}
        self._curves: OrderedDict[Size, Curve] = OrderedDict()
        self._proofs: dict[Size, Proof] = {}
        self._paces: deque[tuple[int, float]] = deque(maxlen=_PACED)
        self._sizes: deque[Size] = deque(maxlen=_REMEMBERED)
        self._neighbours = Neighbours()
        self._ended_s = -math.inf

    def _no_dearer(self, size: Size, batch: int, cost: Cost) -> Cost:
        """Return `cost`, or what the frames take in the next smaller batch if less."""
        smaller = [p for p in self._curves.get(size, ()) if p[0] < batch]
        if not smaller:
            return cost
        frames, known = smaller[-1]
        return min(cost, known.scaled(batch / frames), key=lambda c: c.typical_s)

    def _measured(self, size: Size, batch: int, cost: Cost) -> Mapping[Size, Curve]:
        """Return all curves with a new point; the size unused for longest may go."""
        curve = {**dict(self._curves.get(size, ())), batch: cost}
        self._curves[size] = tuple(sorted(curve.items(), key=lambda point: point[0]))
        self._curves.move_to_end(size)
        if len(self._curves) > _MOST_SIZES:
            gone, points = self._curves.popitem(last=False)
            self._neighbours.forget(gone)
            for count, _ in points:
                del self._runs[gone, count]
            del self._proofs[gone]
        return MappingProxyType(dict(self._curves))

    def _proof_of(self, size: Size, now_s: float) -> Proof:
        curve = self._curves[size]
        return Proof(
            least_s=min(cost.typical_s for _, cost in curve),
            runs=sum(len(self._runs[size, batch]) for batch, _ in curve),
            checked_s=now_s,
        )


def _pace_s(batches: Sequence[tuple[int, float]]) -> float:
    """Return the time per frame of (frames, seconds): small batches weigh little."""
    return sum(busy_s for _, busy_s in batches) / sum(frames for frames, _ in batches)


def cost_from_runs(runs: Iterable[float]) -> Cost:
    """Return the median, of two the shorter, and the longest that was not held up.

    Of nine that is the last but one at most. One outlier moves neither.
    """
    ordered = sorted(runs)
    typical_s = statistics.median(ordered) if len(ordered) > 2 else ordered[0]
    is_full = len(ordered) == _REMEMBERED
    last = -2 if is_full or is_held_up(ordered[-1], typical_s) else -1
    return Cost(typical_s=typical_s, late_s=ordered[last])


def is_held_up(took_s: float, typical_s: float) -> bool:
    """Say whether a run took longer than what it did can explain."""
    return took_s > _HELD_UP * typical_s


def _between(low: Cost, high: Cost, part: float) -> Cost:
    return Cost(
        typical_s=low.typical_s + part * (high.typical_s - low.typical_s),
        late_s=low.late_s + part * (high.late_s - low.late_s),
    )
