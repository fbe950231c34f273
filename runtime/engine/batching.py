"""When a batch leaves a queue and who is in it: a pure function of frozen data.

Frames are batched with frames of exactly equal padded size only, so that an answer
never depends on the size of a batch mate. Within that, the order is

1. STAT before ROUTINE;
2. frames that have waited `patience_s` before those that have not, and among the
   latter the earliest deadline;
3. fair between devices: the first waiting frame of every device, then the second
   of every device, and so on, each time the device that was served longest ago;
4. arrival.

So a device that floods the queue waits behind its own frames. Patience bounds what
deadlines can do: earliest deadline first is optimal while there is room and the
worst order under overload, where it would also starve frames that have no deadline
and sizes that are rare.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from spinert.runtime.frame import Priority
from spinert.runtime.verdict import ReleaseReason

__all__ = [
    "BatchRules",
    "Idle",
    "Release",
    "Step",
    "Ticket",
    "WaitUntil",
    "expired",
    "next_step",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """What the policy knows of a waiting frame."""

    order: int
    """Of arrival in this queue; unique."""
    size: tuple[int, int]
    """Padded (height, width); only equal ones share a batch."""
    queued_s: float
    device: str = ""
    priority: Priority = Priority.ROUTINE
    deadline_s: float = math.inf


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRules:
    """Limits of one queue."""

    max_batch: int
    max_delay_s: float
    patience_s: float = 10.0
    """Wait after which fairness counts more than deadlines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """Run these now, in this order."""

    tickets: tuple[Ticket, ...]
    reason: ReleaseReason


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitUntil:
    """Nothing is due before this time unless another frame arrives."""

    time_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Idle:
    """Nothing is waiting."""


Step = Release | WaitUntil | Idle


def expired(waiting: Iterable[Ticket], now_s: float) -> tuple[Ticket, ...]:
    """Return the tickets whose deadline has come; they must never run."""
    return tuple(t for t in waiting if t.deadline_s <= now_s)


def next_step(
    waiting: Iterable[Ticket],
    now_s: float,
    rules: BatchRules,
    *,
    served: Mapping[str, int] = MappingProxyType({}),
    draining: bool = False,
) -> Step:
    """Decide what the queue does next.

    A group of equal size is due when it fills a batch (FULL), when its oldest
    ticket has waited `max_delay_s` (DELAY), or at once while `draining` (DRAIN).
    Of all groups that are due, the one with the first ticket in the module's order
    is released. Expired tickets count for nothing.

    Args:
        waiting: All tickets of the queue, in any order.
        now_s: On the clock of the tickets.
        rules: Limits of the queue.
        served: By device, lower for one that was served longer ago.
        draining: No more company is expected.
    """
    live = [ticket for ticket in waiting if ticket.deadline_s > now_s]
    if not live:
        return Idle()
    groups = _by_size(live)
    due = {
        size: reason
        for size, group in groups.items()
        if (reason := _due(group, now_s, rules, draining)) is not None
    }
    if not due:
        oldest_s = min(ticket.queued_s for ticket in live)
        return WaitUntil(time_s=oldest_s + rules.max_delay_s)
    ranked = _in_order(live, now_s, rules, served)
    first = next(ticket for ticket in ranked if ticket.size in due)
    group = [ticket for ticket in ranked if ticket.size == first.size]
    return Release(tickets=tuple(group[: rules.max_batch]), reason=due[first.size])


def _by_size(live: Iterable[Ticket]) -> Mapping[tuple[int, int], list[Ticket]]:
    groups: dict[tuple[int, int], list[Ticket]] = {}
    for ticket in live:
        groups.setdefault(ticket.size, []).append(ticket)
    return groups


def _due(
    group: list[Ticket], now_s: float, rules: BatchRules, draining: bool
) -> ReleaseReason | None:
    if len(group) >= rules.max_batch:
        return ReleaseReason.FULL
    if draining:
        return ReleaseReason.DRAIN
    # The same sum as in WaitUntil: waking at that time must find it due.
    if min(ticket.queued_s for ticket in group) + rules.max_delay_s <= now_s:
        return ReleaseReason.DELAY
    return None


def _in_order(
    live: list[Ticket], now_s: float, rules: BatchRules, served: Mapping[str, int]
) -> list[Ticket]:
    """Sort as the module says."""
    urgency = {ticket.order: _urgency(ticket, now_s, rules) for ticket in live}
    rounds: Counter[str] = Counter()
    rank: dict[int, tuple[tuple[int, bool, float], int, int, int]] = {}
    for ticket in sorted(live, key=lambda t: (urgency[t.order], t.order)):
        order, device = ticket.order, ticket.device
        rank[order] = (urgency[order], rounds[device], served.get(device, 0), order)
        rounds[device] += 1
    return sorted(live, key=lambda ticket: rank[ticket.order])


def _urgency(
    ticket: Ticket, now_s: float, rules: BatchRules
) -> tuple[int, bool, float]:
    impatient = now_s - ticket.queued_s >= rules.patience_s
    deadline_s = -math.inf if impatient else ticket.deadline_s
    return -ticket.priority, not impatient, deadline_s
