"""Tickets of many devices, taken in turn."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from spinert.runtime.engine.ticket import Ticket

__all__ = ["FairLine"]

_Head = tuple[int, int, str]
"""When the device was served, arrival of its first ticket, the device."""

_GONE_AT_ONCE: Final = 64
"""So many heads that do not count any more are left alone."""


@dataclass(eq=False, slots=True)
class FairLine:
    """The first ticket of every device, then the second of every device, and so on.

    Each time the device goes first that was served longest ago. What `served` says of
    a device must never fall while it has tickets here. Not for two threads at once.
    """

    _devices: dict[str, dict[int, Ticket]] = field(init=False, default_factory=dict)
    _heads: list[_Head] = field(init=False, default_factory=list)
    _current: dict[str, _Head] = field(init=False, default_factory=dict)
    """The one entry of each device in the heap that counts."""

    def add(self, ticket: Ticket, served: Mapping[str, int]) -> None:
        """Put a ticket behind those of its device that arrived earlier.

        It must have arrived later than all of them.
        """
        tickets = self._devices.setdefault(ticket.device, {})
        tickets[ticket.order] = ticket
        if len(tickets) == 1:
            self._push(ticket.device, served)
            self._sweep()

    def remove(self, ticket: Ticket) -> None:
        """Take a ticket out that is here."""
        tickets = self._devices[ticket.device]
        del tickets[ticket.order]
        if not tickets:
            del self._devices[ticket.device]
            del self._current[ticket.device]

    def first(self, count: int, served: Mapping[str, int]) -> list[Ticket]:
        """Return up to `count` tickets in order; they stay here."""
        heads: list[_Head] = []
        while len(heads) < count and (head := self._pop(served)) is not None:
            heads.append(head)
        for head in heads:
            heapq.heappush(self._heads, head)
        found = [next(iter(self._devices[device].values())) for *_, device in heads]
        # With places left, all devices are among the heads: on with the next round.
        turn = 1
        while len(found) < count and (later := self._in_round(turn, heads, served)):
            found += later
            turn += 1
        return found[:count]

    def _in_round(
        self, turn: int, heads: list[_Head], served: Mapping[str, int]
    ) -> list[Ticket]:
        found = [
            ticket
            for *_, device in heads
            for ticket in islice(self._devices[device].values(), turn, turn + 1)
        ]
        return sorted(found, key=lambda t: (served.get(t.device, 0), t.order))

    def _pop(self, served: Mapping[str, int]) -> _Head | None:
        """Take the first head out of the heap, having renewed those that are stale.

        A head can only move back: its device was served, or lost its first ticket.
        """
        while self._heads:
            head = heapq.heappop(self._heads)
            device = head[2]
            if self._current.get(device) != head:
                continue
            if self._head(device, served) == head:
                return head
            self._push(device, served)
        return None

    def _sweep(self) -> None:
        """Drop what does not count once it is the most: nobody may ever come for it."""
        if len(self._heads) > 2 * len(self._current) + _GONE_AT_ONCE:
            current = self._current
            self._heads = [head for head in self._heads if current.get(head[2]) == head]
            heapq.heapify(self._heads)

    def _push(self, device: str, served: Mapping[str, int]) -> None:
        head = self._current[device] = self._head(device, served)
        heapq.heappush(self._heads, head)

    def _head(self, device: str, served: Mapping[str, int]) -> _Head:
        return served.get(device, 0), next(iter(self._devices[device])), device
