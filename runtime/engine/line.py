"""What waits in one queue, kept so that a decision does not look at all of it.

Decides by the rules of `batching` and in the order of `ticket`. Not for two threads at
once: `scheduler` holds the lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from spinert.runtime.engine.batching import (
    Idle,
    Release,
    Step,
    WaitUntil,
    due_at_s,
    due_reason,
    released,
    with_rivals,
)
from spinert.runtime.engine.costs import UNKNOWN_COSTS, Costs, Size
from spinert.runtime.engine.size_line import SizeLine
from spinert.runtime.engine.ticket import BatchRules, Ticket

__all__ = ["WaitingLine"]


class WaitingLine:
    """Tickets of one queue, in the order of their arrival, and whom it served."""

    def __init__(self, rules: BatchRules) -> None:
        """Start empty."""
        self._rules = rules
        self._sizes: dict[Size, SizeLine] = {}
        self._lapsed: dict[int, Ticket] = {}
        self._served = _Served()

    def __len__(self) -> int:
        """Count the tickets, also those whose deadline has come."""
        return len(self._lapsed) + sum(len(line) for line in self._sizes.values())

    @property
    def served(self) -> Mapping[str, int]:
        """By waiting device, lower for one that was served longer ago."""
        return self._served.by_device

    def put(self, ticket: Ticket) -> None:
        """Add a ticket that arrived after all others."""
        self._served.arrived(ticket.device)
        line = self._sizes.get(ticket.size)
        if line is None:
            line = self._sizes[ticket.size] = SizeLine(self._rules)
        line.put(ticket, self.served)

    def withdraw(self, ticket: Ticket) -> None:
        """Forget a ticket; harmless if it is not here."""
        if self._lapsed.pop(ticket.order, None) is not None or self._remove(ticket):
            self._served.left(ticket.device)

    def take_doomed(self, now_s: float, costs: Costs = UNKNOWN_COSTS) -> list[Ticket]:
        """Take out the tickets that must never run."""
        self._lapse(now_s, costs)
        gone = list(self._lapsed.values())
        for ticket in gone:
            self.withdraw(ticket)
        return gone

    def take(
        self, now_s: float, costs: Costs = UNKNOWN_COSTS, *, draining: bool = False
    ) -> Step:
        """Decide what comes next; take out what is released."""
        self._lapse(now_s, UNKNOWN_COSTS)
        step = self._step(now_s, costs, draining)
        if isinstance(step, Release):
            for ticket in step.tickets:
                self._remove(ticket)
                self._served.serve(ticket.device)
        return step

    def _step(self, now_s: float, costs: Costs, draining: bool) -> Step:
        if not self._sizes:
            return Idle()
        rules = self._rules
        found = [line.group(size, now_s, costs) for size, line in self._sizes.items()]
        groups = with_rivals(found, rules, costs)
        due = {
            group.size: reason
            for group in groups
            if (reason := due_reason(group, now_s, rules, costs, draining=draining))
        }
        if not due:
            at_s = min(due_at_s(group, rules, costs) for group in groups)
            return WaitUntil(time_s=at_s)
        served = self.served
        size = min(due, key=lambda s: self._sizes[s].first_rank(now_s, served))
        ranked = self._sizes[size].first(rules.max_batch, now_s, served)
        return released(ranked, due[size], now_s, costs)

    def _lapse(self, now_s: float, costs: Costs) -> None:
        """Set aside what is doomed; it counts for nothing from here on."""
        for line in list(self._sizes.values()):
            for ticket in line.doomed(now_s, costs):
                self._remove(ticket)
                self._lapsed[ticket.order] = ticket

    def _remove(self, ticket: Ticket) -> bool:
        line = self._sizes.get(ticket.size)
        if line is None or not line.remove(ticket):
            return False
        if not len(line):
            del self._sizes[ticket.size]
        return True


class _Served:
    """When each waiting device was last served, counted in frames.

    A device without waiting frames is forgotten, so that it neither saves up
    credit nor costs memory.
    """

    def __init__(self) -> None:
        self._frames = 0
        self._waiting: Counter[str] = Counter()
        self.by_device: dict[str, int] = {}

    def arrived(self, device: str) -> None:
        self._waiting[device] += 1
        self.by_device.setdefault(device, self._frames)

    def serve(self, device: str) -> None:
        self._frames += 1
        self.by_device[device] = self._frames
        self.left(device)

    def left(self, device: str) -> None:
        self._waiting[device] -= 1
        if not self._waiting[device]:
            del self._waiting[device], self.by_device[device]
