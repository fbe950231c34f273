"""What the policy knows of a waiting frame, and the order among those of one size.

1. STAT before ROUTINE;
2. frames that have waited `patience_s`, then those with a deadline, earliest first,
   then those without;
3. within the first and the last of these fair between devices: the first waiting
   frame of every device, then the second of every device, and so on, each time the
   device that was served longest ago;
4. arrival.

So a device that floods the queue waits behind its own frames. Patience bounds what
deadlines can do: earliest deadline first is optimal while there is room and the
worst order under overload, where it would also starve frames that have no deadline
and sizes that are rare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from spinert.runtime.engine.costs import Size
from spinert.runtime.frame import Priority

__all__ = ["BatchRules", "Rank", "Ticket", "is_impatient", "rank"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """What the policy knows of a waiting frame."""

    order: int
    """Of arrival in this queue; unique."""
    size: Size
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
    margin_s: float = 0.005
    """Kept before a deadline beyond the cost: to wake up, and to answer."""


Rank = tuple[int, int, float, int, int, int]
"""Priority, class, deadline, round, when its device was served, arrival."""


def is_impatient(ticket: Ticket, now_s: float, rules: BatchRules) -> bool:
    """Say whether a frame has waited so long that deadlines do not pass it."""
    return now_s - ticket.queued_s >= rules.patience_s


def rank(ticket: Ticket, impatient: bool, turn: int, served: int) -> Rank:
    """Return the place of a ticket among those of its size; lower goes first.

    Args:
        ticket: The frame.
        impatient: It has waited long enough.
        turn: How many of its device's frames in the same class go before it.
        served: Lower for a device that was served longer ago.
    """
    if not impatient and ticket.deadline_s < math.inf:
        return -ticket.priority, 1, ticket.deadline_s, 0, 0, ticket.order
    kind = 0 if impatient else 2
    return -ticket.priority, kind, 0.0, turn, served, ticket.order
