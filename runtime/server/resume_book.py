"""What a resumable stream owes its client: a pure account, without clock or socket."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["ResumeBook"]

M = TypeVar("M")


class ResumeBook(Generic[M]):
    """Keeps the numbered frames of a stream until the client holds their answers.

    A frame is on the book from being taken until it is answered by message `M` and
    an acknowledgement covers it. Whoever comes back after a broken connection gets
    what is on the book, and can be told which frames never arrived. Bounded by who
    takes: a stream gives out credit for a frame again only once it is off.

    >>> book = ResumeBook()
    >>> for number in (1, 2, 3):
    ...     book.take(number)
    >>> book.answer(2, "B")
    >>> book.answer(1, "A")
    >>> book.acknowledge(1)
    1
    >>> book.unacknowledged(), book.received_sequence
    ({2: 'B'}, 3)
    """

    def __init__(self) -> None:
        """Start before the first frame."""
        self._frames: dict[int, M | None] = {}
        self._received = 0
        self._acknowledged = 0

    def __len__(self) -> int:
        """Count the frames on the book."""
        return len(self._frames)

    def __contains__(self, sequence: int) -> bool:
        """Say whether that frame was taken and is not done with."""
        return sequence in self._frames

    @property
    def received_sequence(self) -> int:
        """The highest number taken; 0 before the first."""
        return self._received

    def take(self, sequence: int) -> None:
        """Enter a frame; its number is above those of all before.

        Raises:
            ValueError: It is not.
        """
        if sequence <= self._received:
            raise ValueError(f"frame {sequence} comes after {self._received}")
        self._received = sequence
        self._frames[sequence] = None

    def answer(self, sequence: int, message: M) -> None:
        """Note what frame `sequence`, which is on the book, is answered with."""
        self._frames[sequence] = message

    def acknowledge(self, sequence: int) -> int:
        """Strike off what is answered up to `sequence`; return how many that were.

        The mark stays: a frame below it is struck off by `settle` as soon as it is
        answered. A client cannot acknowledge what it has not sent.
        """
        mark = min(sequence, self._received)
        self._acknowledged = max(self._acknowledged, mark)
        return self._strike_off()

    def settle(self, sequence: int) -> int:
        """Strike off frame `sequence`, just sent, if it was acknowledged before.

        Returns how many were struck off: 1 or 0.
        """
        if sequence > self._acknowledged:
            return 0
        return self._strike_off()

    def unacknowledged(self) -> dict[int, M]:
        """Return the answers that the client may not hold, in order of the frames."""
        return {
            n: message for n, message in self._frames.items() if message is not None
        }

    def _strike_off(self) -> int:
        # In order of the numbers, because they were taken so.
        done = []
        for number, message in self._frames.items():
            if number > self._acknowledged:
                break
            if message is not None:
                done.append(number)
        for number in done:
            del self._frames[number]
        return len(done)
