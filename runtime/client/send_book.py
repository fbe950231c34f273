"""What a client of a resumable stream has yet to send, hear and acknowledge: pure."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

__all__ = ["SendBook"]

M = TypeVar("M")


class SendBook(Generic[M]):
    """Keeps each frame `M` until its answer is there, so that it can be sent again.

    Frames are numbered from 1. Each is sent at least once over the life of the
    stream, and its answer is let through exactly once, however often it comes.

    >>> book = SendBook()
    >>> book.add("a"), book.add("b")
    (1, 2)
    >>> book.take_unsent(), book.take_unsent()
    ('a', 'b')
    >>> book.resume(1)  # the second was lost on the way
    >>> book.was_sent(1), book.was_sent(2)
    (True, False)
    >>> book.take_unsent()
    'b'
    >>> book.answer(1), book.answer(1)
    (True, False)
    """

    def __init__(self) -> None:
        """Start without frames."""
        self._last = 0
        self._unanswered: dict[int, M] = {}
        self._unsent: deque[int] = deque()
        self._held: set[int] = set()
        self._held_to = 0

    @property
    def next_sequence(self) -> int:
        """The number that the next frame will have."""
        return self._last + 1

    @property
    def acknowledgement(self) -> int:
        """The number up to which the caller holds every answer."""
        return self._held_to

    @property
    def has_unsent(self) -> bool:
        """There is a frame to send, or to send again."""
        return bool(self._unsent)

    @property
    def unanswered(self) -> tuple[M, ...]:
        """The frames without an answer, in order."""
        return tuple(self._unanswered.values())

    def add(self, frame: M) -> int:
        """Number a frame that is to be sent."""
        sequence = self.skip()
        self._unanswered[sequence] = frame
        self._unsent.append(sequence)
        return sequence

    def skip(self) -> int:
        """Number a frame that is never sent; it will be `hold` without an answer."""
        self._last += 1
        return self._last

    def take_unsent(self) -> M:
        """Return the frame to send next.

        Raises:
            IndexError: There is none.
        """
        return self._unanswered[self._unsent.popleft()]

    def resume(self, received_sequence: int) -> None:
        """Prepare to send again what the server has not taken."""
        self._unsent = deque(n for n in self._unanswered if n > received_sequence)

    def was_sent(self, sequence: int) -> bool:
        """Tell whether the server can have that frame, answered or not."""
        if sequence in self._unanswered:
            # Frames are sent in order, also again.
            return not self._unsent or sequence < self._unsent[0]
        return 0 < sequence <= self._last

    def answer(self, sequence: int) -> bool:
        """Note an answer; False if it was there before and must not count again."""
        return self._unanswered.pop(sequence, None) is not None

    def hold(self, sequence: int) -> None:
        """Note that the caller has the answer to that frame."""
        self._held.add(sequence)
        while self._held_to + 1 in self._held:
            self._held_to += 1
            self._held.remove(self._held_to)
