"""When a frame that comes now would be answered: what is ahead of it, at what cost.

The stages form a pipeline: while one frame is in a network, the next is prepared. So a
frame waits for the stage that has most before it, and beyond that takes its own time in
each. Frames ahead are those that its queue will order before it: STAT before ROUTINE,
then by deadline. As every frame that was let in was given a time to be done, one with
an earlier deadline is not let in where it would make another late.

How wrong the sum is shows in the frames that come too late though all of it was known
when they were let in. Each widens the headroom that waits are multiplied with, each
that leaves in time narrows it a little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from spinert.runtime.engine.stage_line import Run, Stage, StageLine, StageLoad
from spinert.runtime.frame import FrameRequest

__all__ = ["HasRequest", "Outlook", "Prospect", "prospect"]

_HEADROOM_FIRST, _HEADROOM_LEAST, _HEADROOM_MOST = 1.3, 1.05, 4.0
_PER_MISS, _PER_HIT = 0.1, 0.0001
"""In balance where one of 1,000 frames that were promised an answer comes too late."""


class HasRequest(Protocol):
    """What is in flight: hashable by identity."""

    @property
    def request(self) -> FrameRequest:
        """The frame as it arrived."""
        ...


T = TypeVar("T", bound=HasRequest)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prospect:
    """What to expect for a frame with a deadline."""

    finish_s: float
    """When it would be done."""
    alone_s: float
    """How long it would take with nothing else in flight."""
    places: int
    """How many like it could be let in now and be in time."""
    waiting: int
    """How many are before it in the stage that has most."""
    overtakes: bool
    """It would make another late."""
    is_guess: bool = False
    """What it takes is not known of every stage: letting it in promises nothing."""


def prospect(
    groups: Sequence[Sequence[StageLoad]],
    deadline_s: float,
    now_s: float,
    headroom: float = 1.0,
) -> Prospect:
    """Return what to expect.

    Args:
        groups: Stages one after another; those of one group run at the same time.
        deadline_s: Of the frame.
        now_s: On the clock of the deadline.
        headroom: Factor on every wait, for what the stages do not know.
    """
    loads = [load for group in groups for load in group]
    own_s = sum(max((load.own_s for load in group), default=0.0) for group in groups)
    alone_s = sum(
        max((load.alone_s for load in group), default=0.0) for group in groups
    )
    wait_s = headroom * max((load.wait_s for load in loads), default=0.0)
    finish_s = now_s + wait_s + own_s
    pace_s = headroom * max((load.pace_s for load in loads), default=0.0)
    left_s = deadline_s - finish_s
    more = math.floor(left_s / pace_s) if 0 <= left_s < math.inf and pace_s else 0
    return Prospect(
        finish_s=finish_s,
        alone_s=alone_s,
        places=0 if left_s < 0 else 1 + more if pace_s else 2**31,
        waiting=max((load.waiting for load in loads), default=0),
        overtakes=any(load.overtakes for load in loads),
        is_guess=any(load.is_guess for load in loads),
    )


class Outlook(Generic[T]):
    """Keeps what is before each stage. Not for two threads at once."""

    def __init__(
        self,
        stages: Mapping[str, Stage],
        groups_of: Callable[[T], Sequence[Sequence[str]]],
    ) -> None:
        """Start with nothing in flight.

        Args:
            stages: By name.
            groups_of: The stages a frame will pass, as `prospect` wants them.
        """
        self._lines = {name: StageLine(stage) for name, stage in stages.items()}
        self._groups_of = groups_of
        self._to_come: dict[T, dict[str, str]] = {}
        self._promised: set[T] = set()
        self._headroom = _HEADROOM_FIRST

    def prospect(
        self, resident: T, now_s: float, instead_of: T | None = None
    ) -> Prospect | None:
        """Return what to expect for a frame that is not in; None: no deadline.

        Args:
            resident: The frame.
            now_s: On the clock of its deadline.
            instead_of: Does not count; it would leave.
        """
        request = resident.request
        if request.deadline_s is None:
            return None
        with self._without(instead_of):
            groups = [
                [self._lines[name].load(request, now_s) for name in group]
                for group in self._groups_of(resident)
            ]
        return prospect(groups, request.deadline_s, now_s, self._headroom)

    def enter(self, resident: T, expected: Prospect | None = None) -> None:
        """Count a frame in all of its stages.

        Args:
            resident: The frame.
            expected: What it was let in for, if it has a deadline.
        """
        names = {name for group in self._groups_of(resident) for name in group}
        self._to_come[resident] = {
            name: self._lines[name].add(resident.request) for name in names
        }
        if expected is not None and not expected.is_guess:
            self._promised.add(resident)

    def begin(self, name: str, residents: Sequence[T], now_s: float) -> Run:
        """Note that a stage takes frames that are alike; they do not wait any more."""
        line = self._lines[name]
        for resident in residents:
            kind = self._to_come.get(resident, {}).pop(name, None)
            if kind is not None:
                line.remove(resident.request, kind)
        return line.begin(residents[0].request, len(residents), now_s)

    def end(self, name: str, run: Run, now_s: float) -> None:
        """Note that a stage is done with what it took."""
        self._lines[name].end(run, now_s)

    def missed(self, resident: T) -> None:
        """Allow for more, if the frame was let in by a prediction: it is too late."""
        if resident in self._promised:
            self._promised.remove(resident)
            self._headroom = min(_HEADROOM_MOST, self._headroom + _PER_MISS)

    def leave(self, resident: T) -> None:
        """Forget a frame."""
        if resident in self._promised:
            self._promised.remove(resident)
            self._headroom = max(_HEADROOM_LEAST, self._headroom - _PER_HIT)
        for name, kind in self._to_come.pop(resident, {}).items():
            self._lines[name].remove(resident.request, kind)

    @contextmanager
    def _without(self, resident: T | None) -> Iterator[None]:
        if resident is None:
            yield
            return
        kinds = self._to_come.get(resident, {})
        for name, kind in kinds.items():
            self._lines[name].remove(resident.request, kind)
        try:
            yield
        finally:
            for name in kinds:
                kinds[name] = self._lines[name].add(resident.request)
