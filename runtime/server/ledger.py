"""The rules of a stream: credit, identity, order. No clock, no socket, no task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from spinert.runtime.errors import (
    DuplicateFrame,
    Overloaded,
    ProtocolViolation,
    Reason,
    SpinertError,
)

__all__ = ["StreamLedger", "Ticket"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ticket:
    """One frame's place on a stream."""

    number: int
    """Order of arrival, from 0."""
    frame_id: str
    sequence: int
    has_credit: bool


class StreamLedger(Generic[T]):
    """Keeps account of the frames of one stream until their replies are sent.

    A frame is taken once, settled once with its outcome `T`, and is on the books
    until `sent`. Credit comes back only then, so that a client that does not read
    cannot make replies pile up.

    >>> ledger = StreamLedger(in_order=True, max_in_flight=2)
    >>> first, second = ledger.take("a", 1), ledger.take("b", 2)
    >>> ledger.settle(second, "B")
    []
    >>> [outcome for _, outcome in ledger.settle(first, "A")]
    ['A', 'B']
    """

    def __init__(self, *, in_order: bool, max_in_flight: int) -> None:
        """Start with `max_in_flight` credits in the client's hands."""
        self._in_order = in_order
        self._credit = max_in_flight
        self._owed = 0
        # A Credit message per frame would double the messages of a stream.
        self._grant_from = max(1, max_in_flight // 4)
        self._next_number = 0
        self._next_to_release = 0
        self._last_sequence = 0
        self._held: dict[int, tuple[Ticket, T]] = {}
        self._by_id: dict[str, Ticket] = {}
        self._unsent = 0

    @property
    def unsent(self) -> int:
        """Count the frames whose reply is not sent."""
        return self._unsent

    def take(self, frame_id: str, sequence: int) -> Ticket:
        """Enter a frame, valid or not; use `objection` before serving it."""
        has_credit = self._credit > 0
        self._credit -= has_credit
        return self._entered(frame_id, sequence, has_credit)

    def take_notice(self) -> Ticket:
        """Enter a reply that answers no frame; it needs no credit."""
        return self._entered("", 0, False)

    def objection(self, ticket: Ticket) -> SpinertError | None:
        """Say why a frame may not be served, or accept it and claim its id.

        An empty id names nothing: such frames are never duplicates, and cannot
        be cancelled. Sequence 0 is not numbered.
        """
        if not ticket.has_credit:
            return _credit_exceeded()
        if ticket.frame_id and ticket.frame_id in self._by_id:
            return DuplicateFrame(
                Reason.DUPLICATE_FRAME_ID,
                "a frame with this frame_id is still in flight on this stream",
            )
        if 0 < ticket.sequence <= self._last_sequence:
            return ProtocolViolation(
                Reason.SEQUENCE_NOT_INCREASING,
                f"sequence must be above {self._last_sequence}, or 0 for none",
            )
        self._last_sequence = ticket.sequence or self._last_sequence
        if ticket.frame_id:
            self._by_id[ticket.frame_id] = ticket
        return None

    def _entered(self, frame_id: str, sequence: int, has_credit: bool) -> Ticket:
        ticket = Ticket(self._next_number, frame_id, sequence, has_credit)
        self._next_number += 1
        self._unsent += 1
        return ticket

    def find(self, frame_id: str) -> Ticket | None:
        """Return the frame in flight with this id."""
        return self._by_id.get(frame_id)

    def settle(self, ticket: Ticket, outcome: T) -> list[tuple[Ticket, T]]:
        """Note a frame's outcome; return what may be sent now, in order."""
        if not self._in_order:
            return [(ticket, outcome)]
        self._held[ticket.number] = (ticket, outcome)
        released = []
        while (ready := self._held.pop(self._next_to_release, None)) is not None:
            released.append(ready)
            self._next_to_release += 1
        return released

    def sent(self, ticket: Ticket) -> int:
        """Strike a frame off; return the credits to grant now, often 0."""
        self._unsent -= 1
        if self._by_id.get(ticket.frame_id) is ticket:
            del self._by_id[ticket.frame_id]
        self._owed += ticket.has_credit
        if self._owed < self._grant_from and self._unsent:
            return 0
        granted, self._owed = self._owed, 0
        self._credit += granted
        return granted


def _credit_exceeded() -> SpinertError:
    error = Overloaded(
        Reason.CREDIT_EXCEEDED,
        "more frames in flight than granted: wait for Credit before sending",
    )
    # The credit for it comes with the answers of earlier frames, not with time.
    error.retry_after_ms = 0
    return error
