"""When to try again to come back to a stream, and when to give up."""

from __future__ import annotations

import math
import random

import grpc

from spinert.runtime.client.errors import RequestFailed
from spinert.runtime.errors import Reason

__all__ = ["Comeback", "may_pass", "unreachable"]

_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 1.0
_MOST_DOUBLINGS = 16
"""Of the first delay; after a thousand a float would overflow."""
_HEALTHY_S = 5.0
"""A connection that lasted this long, or as long as the window, was one."""
_BROKEN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
}
"""What gRPC says of its own accord of a connection that is gone."""
_PASSING = {Reason.NOT_READY, Reason.RESUME_TOKEN_UNKNOWN, Reason.SHUTTING_DOWN}
"""What a server says that is or was restarted; a new stream answers the second."""


class Comeback:
    """Counts the tries since a connection broke; times are of a monotonic clock.

    A server that only opens the stream, and breaks it, does not get the window anew:
    that takes progress, or a connection that lasted.

    >>> comeback = Comeback()
    >>> comeback.opened(90.0, window_s=30)
    >>> comeback.broke(100.0)
    >>> comeback.left_s(110.0)
    20.0
    """

    def __init__(self) -> None:
        """Start before the first connection: there is nothing to come back to."""
        self.window_s = 0.0
        self._opened_s: float | None = None
        self._broken_s: float | None = None
        self._tries = 0

    def opened(self, now_s: float, window_s: float) -> None:
        """Note that the stream has a connection, and how long it would wait."""
        self.window_s = window_s
        self._opened_s = now_s

    def progressed(self) -> None:
        """Note that a frame got through: what breaks next is another failure."""
        self._broken_s, self._tries = None, 0

    def broke(self, now_s: float) -> None:
        """Note that the stream has no connection; what counts is since when."""
        if self._opened_s is not None:
            if now_s - self._opened_s >= min(_HEALTHY_S, self.window_s):
                self.progressed()
            self._opened_s = None
        if self._broken_s is None:
            self._broken_s = now_s

    def left_s(self, now_s: float) -> float:
        """Return how long the server still keeps the stream, at least 0."""
        broken_s = now_s if self._broken_s is None else self._broken_s
        return max(0.0, broken_s + self.window_s - now_s)

    def next_delay_s(self, now_s: float, *, asked_s: float = 0.0) -> float:
        """Return how long to wait before the next try: longer each time.

        `asked_s` is what the server asked for, and comes on top. Not the same for
        all: devices that lost one server should not come back at once.
        """
        doublings = min(self._tries, _MOST_DOUBLINGS)
        delay_s = min(math.ldexp(_FIRST_DELAY_S, doublings), _LONGEST_DELAY_S)
        self._tries += 1
        delay_s = asked_s + delay_s * random.uniform(0.5, 1)
        return min(delay_s, self.left_s(now_s))


def may_pass(failure: RequestFailed) -> bool:
    """Say whether trying again can help: the server has not decided against it."""
    if failure.reason:
        return failure.reason in _PASSING or failure.retry_after_ms > 0
    return failure.status in _BROKEN


def unreachable(window_s: float) -> RequestFailed:
    """Say that the window has passed."""
    return RequestFailed(
        "",
        f"the server did not take the stream up again within {window_s:g} s; frames "
        "without an answer are lost",
        grpc.StatusCode.UNAVAILABLE,
    )
