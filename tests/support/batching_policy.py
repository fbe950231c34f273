"""The rules of a queue, by a look at all of its tickets: what queues must decide."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from spinert.runtime.engine.batching import (
    Group,
    Idle,
    Step,
    WaitUntil,
    can_be_met,
    due_at_s,
    due_reason,
    is_doomed,
    released,
    with_rivals,
)
from spinert.runtime.engine.costs import UNKNOWN_COSTS, Costs, Size
from spinert.runtime.engine.ticket import BatchRules, Rank, Ticket, is_impatient, rank


def doomed(
    waiting: Iterable[Ticket], now_s: float, costs: Costs = UNKNOWN_COSTS
) -> tuple[Ticket, ...]:
    """Return the tickets that must never run."""
    return tuple(t for t in waiting if is_doomed(t, now_s, costs))


def next_step(
    waiting: Iterable[Ticket],
    now_s: float,
    rules: BatchRules,
    *,
    costs: Costs = UNKNOWN_COSTS,
    served: Mapping[str, int] = MappingProxyType({}),
    draining: bool = False,
) -> Step:
    """Decide what a queue does next.

    Of all sizes that are due, the one with the first ticket is released.

    Args:
        waiting: All tickets of the queue, in any order; expired ones do not count.
        now_s: On the clock of the tickets.
        rules: Limits of the queue.
        costs: Of the network behind the queue.
        served: By device, lower for one that was served longer ago.
        draining: No more company is expected.
    """
    by_size: dict[Size, list[Ticket]] = {}
    for ticket in waiting:
        if ticket.deadline_s > now_s:
            by_size.setdefault(ticket.size, []).append(ticket)
    if not by_size:
        return Idle()
    found = [_group(tickets, now_s, costs) for tickets in by_size.values()]
    groups = with_rivals(found, rules, costs)
    due = {
        group.size: reason
        for group in groups
        if (reason := due_reason(group, now_s, rules, costs, draining=draining))
    }
    if not due:
        return WaitUntil(time_s=min(due_at_s(group, rules, costs) for group in groups))
    places = {size: _ranks(by_size[size], now_s, rules, served) for size in due}
    size = min(places, key=lambda s: min(places[s].values()))
    by_order = {ticket.order: ticket for ticket in by_size[size]}
    ranked = [by_order[n] for n in sorted(places[size], key=places[size].__getitem__)]
    return released(ranked[: rules.max_batch], due[size], now_s, costs)


def _group(tickets: Sequence[Ticket], now_s: float, costs: Costs) -> Group:
    possible = (t.deadline_s for t in tickets if can_be_met(t, now_s, costs))
    return Group(
        size=tickets[0].size,
        count=len(tickets),
        oldest_s=min(ticket.queued_s for ticket in tickets),
        earliest_s=min(possible, default=math.inf),
    )


def _ranks(
    tickets: Sequence[Ticket],
    now_s: float,
    rules: BatchRules,
    served: Mapping[str, int],
) -> dict[int, Rank]:
    """Return the places of the waiting tickets of one size, by their order."""
    turns: Counter[tuple[object, ...]] = Counter()
    found: dict[int, Rank] = {}
    for ticket in sorted(tickets, key=lambda t: t.order):
        impatient = is_impatient(ticket, now_s, rules)
        lane = (ticket.device, ticket.priority, impatient, ticket.deadline_s < math.inf)
        key = lane if not impatient else lane[:3]
        found[ticket.order] = rank(
            ticket, impatient, turns[key], served.get(ticket.device, 0)
        )
        turns[key] += 1
    return found
