"""A request to end, by a signal or by a caller."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "stopped_by_signals"]


class Stop:
    """Asked between steps whether to end."""

    def __init__(self) -> None:
        """Begin unasked."""
        self.asked = False

    def ask(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Ask to end after the current step; fits as a signal handler."""
        self.asked = True


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a request to stop; main thread only."""
    stop = Stop()
    before = {n: signal.signal(n, stop.ask) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
