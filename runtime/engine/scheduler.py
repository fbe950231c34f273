"""Queues that hand out batches: the only owners of what waits for a worker."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from spinert.runtime.engine.admission import LONGEST_WAIT_S
from spinert.runtime.engine.batching import (
    Idle,
    Release,
    Step,
    WaitUntil,
)
from spinert.runtime.engine.costs import UNKNOWN_COSTS, Costs
from spinert.runtime.engine.line import WaitingLine
from spinert.runtime.engine.outlook import HasRequest
from spinert.runtime.engine.ticket import BatchRules, Ticket
from spinert.runtime.verdict import ReleaseReason

__all__ = ["Batch", "BatchQueue", "Waiting"]

T = TypeVar("T", bound=HasRequest)


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting(Generic[T]):
    """An item in a queue, or on its way out of one."""

    item: T
    ticket: Ticket


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch(Generic[T]):
    """Items to run together, in slot order."""

    entries: tuple[Waiting[T], ...]
    reason: ReleaseReason


def _unknown() -> Costs:
    return UNKNOWN_COSTS


class BatchQueue(Generic[T]):
    """What waits for one network (or for preparation), safe for any thread.

    It is bounded by admission: `put` never blocks and never refuses while open.
    """

    def __init__(
        self,
        rules: BatchRules,
        clock: Callable[[], float],
        on_doomed: Callable[[T], None],
        costs: Callable[[], Costs] = _unknown,
    ) -> None:
        """Start empty.

        Args:
            rules: Limits of the queue.
            clock: Of the deadlines.
            on_doomed: Gets each item that cannot be answered in time any more.
            costs: What is known of batches from here.
        """
        self._rules = rules
        self._clock = clock
        self._on_doomed = on_doomed
        self._costs = costs
        self._changed = threading.Condition()
        self._waiting: dict[int, Waiting[T]] = {}
        self._orders = itertools.count()
        self._line = WaitingLine(rules)
        self._draining = False
        self._closed = False

    def __len__(self) -> int:
        """Count what waits."""
        with self._changed:
            return len(self._waiting)

    def put(self, item: T, size: tuple[int, int] = (0, 0)) -> Waiting[T]:
        """Queue `item` among those of padded `size`; the entry can be withdrawn.

        A closed queue forgets the item at once: whoever closes it answers for
        everything that is in flight.
        """
        request = item.request
        deadline_s = math.inf if request.deadline_s is None else request.deadline_s
        with self._changed:
            ticket = Ticket(
                order=next(self._orders),
                size=size,
                queued_s=self._clock(),
                device=request.device,
                priority=request.priority,
                deadline_s=deadline_s,
            )
            entry = Waiting(item=item, ticket=ticket)
            if not self._closed:
                self._line.put(ticket)
                self._waiting[ticket.order] = entry
                self._changed.notify()
            return entry

    def withdraw(self, entry: Waiting[T]) -> None:
        """Forget `entry` if it still waits."""
        with self._changed:
            if self._waiting.pop(entry.ticket.order, None) is not None:
                self._line.withdraw(entry.ticket)

    def take(self) -> Batch[T] | None:
        """Block until a batch is due and hand it over; None once closed.

        Waits exactly until the policy's next time or a change, without polling.
        """
        while True:
            with self._changed:
                dead = self._drop_doomed()
                batch = None if dead else self._next()
                if self._closed:
                    return None
            if batch is not None:
                return batch
            for entry in dead:  # outside the lock: it answers a caller
                self._on_doomed(entry.item)

    def take_now(self) -> Batch[T] | None:
        """Hand over a batch that is due already; None where there is none."""
        with self._changed:
            return None if self._closed else self._released(self._step())

    def drain(self) -> None:
        """Release what waits, and what still comes, without waiting for company."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    def close(self) -> None:
        """Forget what waits and end every `take`."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._line = WaitingLine(self._rules)
            self._changed.notify_all()

    def nudge(self) -> None:
        """Look at the clock again: for clocks that do not pass by themselves."""
        with self._changed:
            self._changed.notify_all()

    def _drop_doomed(self) -> list[Waiting[T]]:
        tickets = self._line.take_doomed(self._clock(), self._costs())
        return [self._waiting.pop(ticket.order) for ticket in tickets]

    def _next(self) -> Batch[T] | None:
        """Take a due batch, or wait once and return None."""
        step = self._step()
        match step:
            case WaitUntil(time_s=time_s):
                left_s = max(0.0, time_s - self._clock())
                self._changed.wait(min(left_s, LONGEST_WAIT_S))
            case Idle():
                # What is left without being due has expired this moment.
                if not self._closed and not self._waiting:
                    self._changed.wait()
        return self._released(step)

    def _step(self) -> Step:
        return self._line.take(self._clock(), self._costs(), draining=self._draining)

    def _released(self, step: Step) -> Batch[T] | None:
        if not isinstance(step, Release):
            return None
        entries = tuple(self._waiting.pop(t.order) for t in step.tickets)
        return Batch(entries=entries, reason=step.reason)
