"""The rules of a stream: credit, identity, order. No clock, no socket, no task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from spinert.runtime.errors import (
    DuplicateFrame,
    Overloaded,
    ProtocolViolation,
    Reason,
    SpinertError,
)
from spinert.runtime.server.resume_book import ResumeBook

__all__ = ["StreamLedger", "Ticket"]

T = TypeVar("T")
M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Ticket:
    """One frame's place on a stream."""

    number: int
    """Order of arrival, from 0."""
    frame_id: str
    sequence: int
    has_credit: bool


class StreamLedger(Generic[T, M]):
    """Keeps account of the frames of one stream until their replies are sent.

    A frame is taken once, settled once with its outcome `T`, and is on the books
    until `sent`; its id is free from `sending` on. Credit comes back only when sent,
    so that a client that does not read cannot make replies pile up. On a resumable
    stream every frame is numbered, and one that was taken stays on the books, with
    the message `M` that answers it, until it is acknowledged; its credit comes back
    only then.

    >>> ledger = StreamLedger(in_order=True, max_in_flight=2)
    >>> first, second = ledger.take("a", 1), ledger.take("b", 2)
    >>> ledger.settle(second, "B")
    []
    >>> [outcome for _, outcome in ledger.settle(first, "A")]
    ['A', 'B']
    """

    def __init__(
        self, *, in_order: bool, max_in_flight: int, resumable: bool = False
    ) -> None:
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
        self._book: ResumeBook[M] | None = ResumeBook() if resumable else None
        self._booked: dict[int, int] = {}

    @property
    def unsent(self) -> int:
        """Count the frames whose reply is not sent."""
        return self._unsent

    @property
    def is_settled(self) -> bool:
        """Nothing is left to send, and the client holds everything sent."""
        return not self._unsent and not self._book

    @property
    def received_sequence(self) -> int:
        """The highest number taken on a resumable stream."""
        return self._book.received_sequence if self._book is not None else 0

    def take(self, frame_id: str, sequence: int) -> Ticket:
        """Enter a frame, valid or not; use `objection` before serving it."""
        has_credit = self._credit > 0
        self._credit -= has_credit
        return self._entered(frame_id, sequence, has_credit)

    def take_notice(self) -> Ticket:
        """Enter a reply that answers no frame; it needs no credit."""
        return self._entered("", 0, False)

    def repeats(self, sequence: int) -> bool:
        """Recognise a frame that came before a connection broke, and comes again.

        It is answered once, as the frame it is; the credit it took comes back.
        """
        if self._book is None or sequence not in self._book:
            return False
        if self._credit:
            self._credit -= 1
            self._owed += 1
        return True

    def objection(self, ticket: Ticket) -> SpinertError | None:
        """Say why a frame may not be served, or accept it and claim its id.

        An empty id names nothing: such frames are never duplicates, and cannot
        be cancelled. Sequence 0 is not numbered.
        """
        if error := self.excess(ticket) or self._misnumbered(ticket.sequence):
            return error
        self._last_sequence = ticket.sequence or self._last_sequence
        if self._book is not None:
            self._book.take(ticket.sequence)
            self._booked[ticket.number] = ticket.sequence
        if ticket.frame_id in self._by_id:
            return DuplicateFrame(
                Reason.DUPLICATE_FRAME_ID,
                "a frame with this frame_id is still in flight on this stream",
            )
        if ticket.frame_id:
            self._by_id[ticket.frame_id] = ticket
        return None

    def excess(self, ticket: Ticket) -> SpinertError | None:
        """Say so if a frame came without credit."""
        if ticket.has_credit:
            return None
        error = Overloaded(
            Reason.CREDIT_EXCEEDED,
            "more frames in flight than granted: wait for Credit before sending",
        )
        # The credit for it comes with the answers of earlier frames, not with time.
        error.retry_after_ms = 0
        return error

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

    def sending(self, ticket: Ticket, message: M) -> None:
        """Note what is sent next, before a connection can break over it.

        The id is free from here on: a client may name its next frame so as soon as
        it holds the answer, which can be before the write of it has returned. On a
        resumable stream, answers that may come again are told apart by number.

        Only answers to frames that were taken are kept: a client that lost the
        answer to another sees from the numbers that it was not taken.
        """
        if self._by_id.get(ticket.frame_id) is ticket:
            del self._by_id[ticket.frame_id]
        if self._book is not None and ticket.number in self._booked:
            self._book.answer(ticket.sequence, message)

    def sent(self, ticket: Ticket) -> int:
        """Strike a reply off, sent or lost on its way; return what `grant` says."""
        self._unsent -= 1
        sequence = self._booked.pop(ticket.number, 0)
        if self._book is not None and sequence:
            self._owed += self._book.settle(sequence)
        else:
            self._owed += ticket.has_credit
        return self.grant()

    def acknowledge(self, sequence: int) -> None:
        """Forget the answers up to `sequence`: the client holds them."""
        if self._book is not None:
            self._owed += self._book.acknowledge(sequence)

    def unacknowledged(self) -> Mapping[int, M]:
        """Return the answers sent that the client may not hold, by number."""
        return {} if self._book is None else self._book.unacknowledged()

    def grant(self) -> int:
        """Return the credits to grant now, often 0."""
        if self._owed < self._grant_from and not self.is_settled:
            return 0
        return self._granted(self._owed)

    def regrant(self) -> int:
        """Return the credits to grant to a client that starts with none.

        What an earlier connection carried is void: grants and frames may both have
        been lost with it.
        """
        granted, self._credit = self._credit + self._owed, 0
        return self._granted(granted)

    def _granted(self, credits: int) -> int:
        self._owed = 0
        self._credit += credits
        return credits

    def _entered(self, frame_id: str, sequence: int, has_credit: bool) -> Ticket:
        ticket = Ticket(self._next_number, frame_id, sequence, has_credit)
        self._next_number += 1
        self._unsent += 1
        return ticket

    def _misnumbered(self, sequence: int) -> SpinertError | None:
        if self._book is not None and not sequence:
            return ProtocolViolation(
                Reason.SEQUENCE_NOT_INCREASING,
                "frames of a resumable stream must be numbered: set sequence, from 1",
            )
        if 0 < sequence <= self._last_sequence:
            return ProtocolViolation(
                Reason.SEQUENCE_NOT_INCREASING,
                f"sequence must be above {self._last_sequence}, or 0 for none",
            )
        return None
