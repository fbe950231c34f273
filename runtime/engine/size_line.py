"""Waiting tickets of one size: their order, the oldest, the first deadline.

Nothing here looks at all of them: removed tickets leave their entries behind, which
are skipped when they come up, or swept out once they are the most.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from spinert.runtime.engine.batching import (
    Group,
    can_be_met,
    is_doomed,
)
from spinert.runtime.engine.costs import Costs, Size
from spinert.runtime.engine.fair import FairLine
from spinert.runtime.engine.ticket import (
    BatchRules,
    Rank,
    Ticket,
    is_impatient,
    rank,
)
from spinert.runtime.frame import Priority

__all__ = ["SizeLine"]

_BY_PRIORITY: Final = sorted(Priority, reverse=True)
_GONE_AT_ONCE: Final = 64
"""So many entries of removed tickets are left alone."""


class SizeLine:
    """Tickets of one size, put in the order of their arrival."""

    def __init__(self, rules: BatchRules) -> None:
        """Start empty."""
        self._rules = rules
        self._here: set[int] = set()
        self._arrivals: deque[Ticket] = deque()
        self._deadlines = _DeadlineLine()
        self._classes = {priority: _Class() for priority in _BY_PRIORITY}

    def __len__(self) -> int:
        """Count the tickets."""
        return len(self._here)

    def put(self, ticket: Ticket, served: Mapping[str, int]) -> None:
        """Add a ticket that arrived after all others."""
        self._here.add(ticket.order)
        self._arrivals.append(ticket)
        if ticket.deadline_s < math.inf:
            self._deadlines.add(ticket)
        self._classes[ticket.priority].put(ticket, served)

    def remove(self, ticket: Ticket) -> bool:
        """Forget a ticket; False if it is not here."""
        if ticket.order not in self._here:
            return False
        self._here.remove(ticket.order)
        self._arrivals = _swept(self._arrivals, self._here)
        self._deadlines.remove(ticket)
        self._classes[ticket.priority].remove(ticket)
        return True

    def doomed(self, now_s: float, costs: Costs) -> list[Ticket]:
        """Return those that must never run."""
        return self._deadlines.leading(lambda t: is_doomed(t, now_s, costs))[0]

    def group(self, size: Size, now_s: float, costs: Costs) -> Group:
        """Return all of them in short."""
        while self._arrivals[0].order not in self._here:
            self._arrivals.popleft()
        _, earliest = self._deadlines.leading(
            lambda ticket: not can_be_met(ticket, now_s, costs)
        )
        return Group(
            size=size,
            count=len(self),
            oldest_s=self._arrivals[0].queued_s,
            earliest_s=earliest.deadline_s if earliest else math.inf,
        )

    def first_rank(self, now_s: float, served: Mapping[str, int]) -> Rank:
        """Return the rank of the first ticket."""
        for line in self._classes.values():
            for ticket, impatient in line.first(1, now_s, self._rules, served):
                return rank(ticket, impatient, 0, served.get(ticket.device, 0))
        raise ValueError("nothing waits")

    def first(
        self, count: int, now_s: float, served: Mapping[str, int]
    ) -> list[Ticket]:
        """Return up to `count` tickets in order; they stay here."""
        found: list[Ticket] = []
        for line in self._classes.values():
            left = count - len(found)
            ranked = line.first(left, now_s, self._rules, served) if left else []
            found += [ticket for ticket, _ in ranked]
        return found


class _DeadlineLine:
    """Tickets by deadline, then by arrival; removed ones are skipped later."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Ticket]] = []
        self._here: set[int] = set()

    def add(self, ticket: Ticket) -> None:
        heapq.heappush(self._heap, (ticket.deadline_s, ticket.order, ticket))
        self._here.add(ticket.order)

    def remove(self, ticket: Ticket) -> None:
        self._here.discard(ticket.order)
        if _are_mostly_gone(len(self._heap), len(self._here)):
            self._heap = [entry for entry in self._heap if entry[1] in self._here]
            heapq.heapify(self._heap)

    def first(self, count: int) -> list[Ticket]:
        """Return up to `count` tickets; they stay here."""
        places = iter(range(count))
        return self.leading(lambda _: next(places, None) is not None)[0]

    def leading(
        self, wanted: Callable[[Ticket], bool]
    ) -> tuple[list[Ticket], Ticket | None]:
        """Return the first tickets that are all wanted, and the one that is not.

        They stay here. Each costs a step down the heap.
        """
        seen: list[tuple[float, int, Ticket]] = []
        after: Ticket | None = None
        while self._heap and after is None:
            entry = heapq.heappop(self._heap)
            if entry[1] in self._here:
                seen.append(entry)
                after = None if wanted(entry[2]) else entry[2]
        for entry in seen:
            heapq.heappush(self._heap, entry)
        found = [ticket for *_, ticket in seen]
        return (found if after is None else found[:-1]), after


class _Class:
    """Tickets of one size and priority: impatient, with a deadline, without."""

    def __init__(self) -> None:
        self._arrivals: deque[Ticket] = deque()
        self._impatient = FairLine()
        self._dated = _DeadlineLine()
        self._undated = FairLine()
        self._old: set[int] = set()
        self._here: set[int] = set()

    def put(self, ticket: Ticket, served: Mapping[str, int]) -> None:
        self._here.add(ticket.order)
        self._arrivals.append(ticket)
        if ticket.deadline_s < math.inf:
            self._dated.add(ticket)
        else:
            self._undated.add(ticket, served)

    def remove(self, ticket: Ticket) -> None:
        self._here.discard(ticket.order)
        self._arrivals = _swept(self._arrivals, self._here)
        if ticket.order in self._old:
            self._old.discard(ticket.order)
            self._impatient.remove(ticket)
        else:
            self._remove_patient(ticket)

    def first(
        self, count: int, now_s: float, rules: BatchRules, served: Mapping[str, int]
    ) -> list[tuple[Ticket, bool]]:
        """Return up to `count` tickets in order, and whether each is impatient."""
        self._grow_old(now_s, rules, served)
        found = [(t, True) for t in self._impatient.first(count, served)]
        if len(found) < count:
            found += [(t, False) for t in self._dated.first(count - len(found))]
        if len(found) < count:
            rest = self._undated.first(count - len(found), served)
            found += [(t, False) for t in rest]
        return found

    def _grow_old(
        self, now_s: float, rules: BatchRules, served: Mapping[str, int]
    ) -> None:
        while self._arrivals:
            ticket = self._arrivals[0]
            if ticket.order in self._here:
                if not is_impatient(ticket, now_s, rules):
                    return
                self._remove_patient(ticket)
                self._old.add(ticket.order)
                self._impatient.add(ticket, served)
            self._arrivals.popleft()

    def _remove_patient(self, ticket: Ticket) -> None:
        if ticket.deadline_s < math.inf:
            self._dated.remove(ticket)
        else:
            self._undated.remove(ticket)


def _swept(arrivals: deque[Ticket], here: set[int]) -> deque[Ticket]:
    """Return `arrivals`, without those that are not `here` once they are the most."""
    if not _are_mostly_gone(len(arrivals), len(here)):
        return arrivals
    return deque(ticket for ticket in arrivals if ticket.order in here)


def _are_mostly_gone(entries: int, here: int) -> bool:
    return entries > 2 * here + _GONE_AT_ONCE
