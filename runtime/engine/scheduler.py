"""Queues that hand out batches: the only owners of what waits for a worker."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from spinert.runtime.engine.admission import LONGEST_WAIT_S, HasRequest
from spinert.runtime.engine.batching import (
    BatchRules,
    Idle,
    Release,
    Step,
    Ticket,
    WaitUntil,
    expired,
    next_step,
)
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


class _Served:
    """When each waiting device was last served, counted in frames.

    A device without waiting frames is forgotten, so that it neither saves up
    credit nor costs memory.
    """

    def __init__(self) -> None:
        self._frames = 0
        self.by_device: dict[str, int] = {}

    def arrived(self, device: str) -> None:
        self.by_device.setdefault(device, self._frames)

    def left(self, devices: Iterable[str], waiting: set[str]) -> None:
        for device in devices:
            self._frames += 1
            self.by_device[device] = self._frames
        self.by_device = {d: n for d, n in self.by_device.items() if d in waiting}


class BatchQueue(Generic[T]):
    """What waits for one network (or for preparation), safe for any thread.

    It is bounded by admission: `put` never blocks and never refuses while open.
    """

    def __init__(
        self,
        rules: BatchRules,
        clock: Callable[[], float],
        on_expired: Callable[[T], None],
    ) -> None:
        """Start empty; `on_expired` gets each item whose deadline came first."""
        self._rules = rules
        self._clock = clock
        self._on_expired = on_expired
        self._changed = threading.Condition()
        self._waiting: dict[int, Waiting[T]] = {}
        self._orders = itertools.count()
        self._served = _Served()
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
                self._served.arrived(request.device)
                self._waiting[ticket.order] = entry
                self._changed.notify()
            return entry

    def withdraw(self, entry: Waiting[T]) -> None:
        """Forget `entry` if it still waits."""
        with self._changed:
            self._waiting.pop(entry.ticket.order, None)
            self._account(())

    def take(self) -> Batch[T] | None:
        """Block until a batch is due and hand it over; None once closed.

        Waits exactly until the policy's next time or a change, without polling.
        """
        while True:
            with self._changed:
                dead = self._drop_expired()
                batch = None if dead else self._next()
                if self._closed:
                    return None
            if batch is not None:
                return batch
            for entry in dead:  # outside the lock: it answers a caller
                self._on_expired(entry.item)

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
            self._changed.notify_all()

    def nudge(self) -> None:
        """Look at the clock again: for clocks that do not pass by themselves."""
        with self._changed:
            self._changed.notify_all()

    def _drop_expired(self) -> list[Waiting[T]]:
        tickets = (entry.ticket for entry in self._waiting.values())
        dead = expired(tickets, self._clock())
        entries = [self._waiting.pop(ticket.order) for ticket in dead]
        if entries:
            self._account(())
        return entries

    def _account(self, released: Iterable[Ticket]) -> None:
        waiting = {entry.ticket.device for entry in self._waiting.values()}
        self._served.left((ticket.device for ticket in released), waiting)

    def _next(self) -> Batch[T] | None:
        """Take a due batch, or wait once and return None."""
        step = self._step()
        match step:
            case WaitUntil(time_s=time_s):
                left_s = max(0.0, time_s - self._clock())
                self._changed.wait(min(left_s, LONGEST_WAIT_S))
            case Idle():
                if not self._closed:
                    self._changed.wait()
        return self._released(step)

    def _step(self) -> Step:
        return next_step(
            [entry.ticket for entry in self._waiting.values()],
            self._clock(),
            self._rules,
            served=self._served.by_device,
            draining=self._draining,
        )

    def _released(self, step: Step) -> Batch[T] | None:
        if not isinstance(step, Release):
            return None
        entries = tuple(self._waiting.pop(t.order) for t in step.tickets)
        self._account(step.tickets)
        return Batch(entries=entries, reason=step.reason)
