"""What is before one stage: the frames that it works on, and those that wait.

Waiting frames are told apart by kind, so that each counts with what its kind takes.
What its queue orders first goes to the first worker that is free: n frames occupy no
more than n workers, and all work is done once the workers that are free by then have
had time for it. The earlier of the two is the wait.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat

from spinert.runtime.engine.costs import UNKNOWN_COSTS, Costs
from spinert.runtime.frame import FrameRequest, Priority

__all__ = ["Run", "Stage", "StageLine", "StageLoad"]

_TRUSTED_S = 1.0
"""A kind of which nothing has run for so long refuses nobody: a frame tests it."""
_HELD_UP = 2.0
"""Times what a run was expected to take: it is held up, and nobody knows how long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageLoad:
    """A stage as a frame would find it now."""

    wait_s: float = 0.0
    """Until it would begin with the frame."""
    pace_s: float = 0.0
    """What one more frame like it would wait longer."""
    own_s: float = 0.0
    """That this frame will take in it, together with its batch mates."""
    alone_s: float = 0.0
    """That it would take in it without any."""
    waiting: int = 0
    """Frames that it will begin before this one, batch mates among them."""
    overtakes: bool = False
    """A frame that would be in time without this one would not be with it."""
    is_guess: bool = False
    """What the frame takes is not known, or was not checked lately: it is zero."""


def _any_kind(_: FrameRequest) -> str:
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What is known of a stage without looking at frames."""

    costs: Callable[[str], Costs]
    """Of frames of a kind."""
    kind_of: Callable[[FrameRequest], str] = _any_kind
    max_batch: int = 1
    workers: int = 1
    """Frames, or batches, that it works on at a time."""


@dataclass(eq=False, kw_only=True, slots=True)
class Run:
    """What a stage works on, or has taken and will work on next."""

    kind: str
    work_s: float
    """That it is expected to take."""
    began_s: float


@dataclass(eq=False, slots=True)
class StageLine:
    """Runs, and deadlines of the frames that wait. Not for two threads at once."""

    stage: Stage
    _due: dict[Priority, dict[str, list[float]]] = field(
        init=False, default_factory=lambda: {priority: {} for priority in Priority}
    )
    _runs: list[Run] = field(init=False, default_factory=list)

    def __len__(self) -> int:
        """Count the frames that wait."""
        return sum(len(due) for kinds in self._due.values() for due in kinds.values())

    def add(self, request: FrameRequest) -> str:
        """Count a frame that will come to this stage; return its kind."""
        kind = self.stage.kind_of(request)
        insort(self._due[request.priority].setdefault(kind, []), _deadline_s(request))
        return kind

    def remove(self, request: FrameRequest, kind: str) -> None:
        """Forget a frame that was added."""
        kinds = self._due[request.priority]
        due = kinds[kind]
        del due[bisect_left(due, _deadline_s(request))]
        if not due:
            del kinds[kind]

    def begin(self, request: FrameRequest, count: int, now_s: float) -> Run:
        """Note that `count` frames alike are taken."""
        kind = self.stage.kind_of(request)
        costs = self.stage.costs(kind)
        cost = costs.of(costs.usual, count) if costs.usual else None
        run = Run(kind=kind, work_s=cost.typical_s if cost else 0.0, began_s=now_s)
        self._runs.append(run)
        return run

    def end(self, run: Run, now_s: float) -> None:
        """Note that a run has ended; the next that waited for it begins."""
        if run not in self._runs:
            return
        was_working = self._runs.index(run) < self.stage.workers
        self._runs.remove(run)
        if was_working and len(self._runs) >= self.stage.workers:
            self._runs[self.stage.workers - 1].began_s = now_s

    def load(self, request: FrameRequest, now_s: float) -> StageLoad:
        """Return what a frame that is not counted would find."""
        stage, own = self.stage, self._due[request.priority]
        costs = self._trusted(stage.kind_of(request), now_s)
        before = {k: bisect_right(due, _deadline_s(request)) for k, due in own.items()}
        counts = list(before.items())
        if request.priority is Priority.ROUTINE:
            urgent = self._due[Priority.STAT]
            counts += [(kind, len(due)) for kind, due in urgent.items()]
        count, waiting = sum(n for _, n in counts), len(self)
        ahead_s = sum(n * stage.costs(kind).pace_s for kind, n in counts)
        free_s = self._free_after_s(now_s)
        behind_s = self._behind_s(request, before) if count < waiting else 0.0
        whole = 1 - count % stage.max_batch / count if count else 0.0
        alone_s = _batch_s(costs, 1)
        return StageLoad(
            # All that wait occupy no more workers than they are.
            wait_s=min(
                _begins_after_s(free_s, whole * ahead_s, behind_s),
                *free_s[waiting:][:1],
                math.inf,
            ),
            pace_s=costs.pace_s,
            # Later ones may fill its batch, unless nothing is going on.
            own_s=_batch_s(costs, stage.max_batch) if count else alone_s,
            alone_s=alone_s,
            waiting=count,
            overtakes=self._overtakes(
                _later(own, before),
                now_s + _begins_after_s(free_s, ahead_s, behind_s),
                costs.pace_s,
            ),
            is_guess=costs.usual is None,
        )

    def _trusted(self, kind: str, now_s: float) -> Costs:
        """Return what is known of a kind, if it is being checked."""
        costs = self.stage.costs(kind)
        if now_s - costs.checked_s <= _TRUSTED_S:
            return costs
        waits = any(kind in kinds for kinds in self._due.values())
        is_here = waits or any(run.kind == kind for run in self._runs)
        return costs if is_here else UNKNOWN_COSTS

    def _free_after_s(self, now_s: float) -> list[float]:
        """Return how long each worker is taken, ascending."""
        workers = self.stage.workers
        free_s = [0.0] * max(0, workers - len(self._runs))
        for run in self._runs[:workers]:
            free_s.append(_left_s(run, now_s))
        free_s.sort()
        for run in self._runs[workers:]:
            heapq.heapreplace(free_s, free_s[0] + run.work_s)
        return sorted(free_s)

    def _behind_s(self, request: FrameRequest, before: Mapping[str, int]) -> float:
        """Return what a batch of those behind a frame delays it.

        It may have begun before this one comes.
        """
        behind = {
            kind
            for priority, kinds in self._due.items()
            for kind, due in kinds.items()
            if priority < request.priority
            or (priority is request.priority and before[kind] < len(due))
        }
        batches = (_batch_s(self.stage.costs(k), self.stage.max_batch) for k in behind)
        return max(batches, default=0.0)

    def _overtakes(
        self, later: Iterable[tuple[float, str]], start_s: float, more_s: float
    ) -> bool:
        """Say whether one more frame makes one of the later ones late.

        Args:
            later: (deadline, kind) of those behind it, in order.
            start_s: When the first of them would begin without it.
            more_s: How much later each would begin with it.
        """
        takes_s: dict[str, tuple[float, float]] = {}
        for deadline_s, kind in later if more_s else ():
            if deadline_s == math.inf:
                return False
            if kind not in takes_s:
                costs = self.stage.costs(kind)
                takes_s[kind] = _batch_s(costs, 1), costs.pace_s
            alone_s, pace_s = takes_s[kind]
            if start_s + alone_s <= deadline_s < start_s + alone_s + more_s:
                return True
            start_s += pace_s
        return False


def _left_s(run: Run, now_s: float) -> float:
    """Return how long a run will still take.

    One that is held up is so for as long again: what has lasted for a while lasts.
    """
    took_s = now_s - run.began_s
    held_up_s = took_s - _HELD_UP * run.work_s if run.work_s else 0.0
    return max(0.0, run.work_s - took_s, held_up_s)


def _begins_after_s(free_s: Sequence[float], ahead_s: float, behind_s: float) -> float:
    """Return when work begins that is done after other work.

    Args:
        free_s: How long each worker is taken, ascending.
        ahead_s: What all workers together take for what goes first.
        behind_s: What one of them takes for what goes first though it is behind.
    """
    todo_s, workers = ahead_s * len(free_s) + behind_s, 0
    for until_s in free_s:
        if workers and todo_s <= workers * until_s:
            break  # Those that are taken for longer have no part in it.
        todo_s += until_s
        workers += 1
    return todo_s / workers


def _later(
    due: Mapping[str, list[float]], before: Mapping[str, int]
) -> Iterable[tuple[float, str]]:
    lines = [zip(due[kind][n:], repeat(kind)) for kind, n in before.items()]
    return lines[0] if len(lines) == 1 else heapq.merge(*lines)


def _batch_s(costs: Costs, count: int) -> float:
    cost = costs.of(costs.usual, count) if costs.usual else None
    return cost.late_s if cost else 0.0


def _deadline_s(request: FrameRequest) -> float:
    return math.inf if request.deadline_s is None else request.deadline_s
