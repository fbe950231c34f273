"""Streams that outlive their connections, for a while and in bounded number."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from spinert.runtime.errors import Overloaded, Reason, SpinertError, StreamStateError

__all__ = ["Hold", "KeptSession", "ResumeStore"]

_NAME_BYTES = 9
_SECRET_BYTES = 24
_RESERVED_PART = 8
"""One device has all places but one in so many at most: a stream in use is never given
up, so a single device could lock all others out."""


class KeptSession(Protocol):
    """What a store needs of a session."""

    @property
    def is_settled(self) -> bool:
        """Nothing would be lost with it."""
        ...

    async def cut(self) -> None:
        """End the connection there is, if any."""
        ...

    def close(self) -> None:
        """Withdraw what is in flight."""
        ...


S = TypeVar("S", bound=KeptSession)


@dataclass(eq=False, slots=True)
class _Kept(Generic[S]):
    name: str
    secret: str
    device: str
    session: S
    holder: Hold[S] | None = None
    """The connection that has it; None while it waits for one."""
    expiry: asyncio.TimerHandle | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Hold(Generic[S]):
    """One connection's hold on a stream; void once another connection has it."""

    kept: _Kept[S]

    @property
    def session(self) -> S:
        """The stream."""
        return self.kept.session

    @property
    def token(self) -> str:
        """What the client resumes it with."""
        return f"{self.kept.name}.{self.kept.secret}"


class ResumeStore(Generic[S]):
    """Resumable streams, by token.

    A stream that a connection left is kept for the window, unless another needs its
    place; then its frames are withdrawn and it is forgotten. A token in use elsewhere
    takes the stream over: mostly the other connection is dead, and TCP has not
    noticed yet. Belongs to one event loop.
    """

    def __init__(self, *, window_s: float, max_streams: int) -> None:
        """Keep streams for `window_s`, never more than `max_streams`; 0 s: none."""
        self._window_s = window_s
        self._max_streams = max_streams
        self._kept: dict[str, _Kept[S]] = {}
        self._closed = False

    def __len__(self) -> int:
        """Count the streams, connected or waiting."""
        return len(self._kept)

    @property
    def window_ms(self) -> int:
        """How long a stream is kept without a connection."""
        return round(self._window_s * 1000)

    def add(self, session: S, device: str) -> Hold[S]:
        """Take a new stream in, held by its first connection.

        Raises:
            StreamStateError: Nothing is kept here.
            Overloaded: There is no room for another stream, or not for this device.
        """
        self._require_window()
        self._make_room(device)
        kept = _Kept(
            secrets.token_urlsafe(_NAME_BYTES),
            secrets.token_urlsafe(_SECRET_BYTES),
            device,
            session,
        )
        self._kept[kept.name] = kept
        return self._held(kept)

    async def resume(self, token: str, device: str) -> Hold[S]:
        """Give a stream to another connection, ending the one that has it.

        Raises:
            StreamStateError: There is none of this token and device, or nothing is
                kept here, or a third connection came in between.
        """
        self._require_window()
        kept = self._find(token, device)
        hold = self._held(kept)
        try:
            await kept.session.cut()
        except BaseException:
            self.leave(hold)
            raise
        if kept.holder is not hold:
            raise StreamStateError(
                Reason.STREAM_TAKEN_OVER, "another call has resumed this stream"
            )
        return hold

    def leave(self, hold: Hold[S]) -> None:
        """Note that a connection is gone; its stream waits for the next."""
        kept = hold.kept
        if kept.holder is not hold:
            return
        kept.holder = None
        if self._closed:
            self._forget(kept)
            return
        # Last in the order: who left longest ago comes first.
        self._kept[kept.name] = self._kept.pop(kept.name)
        loop = asyncio.get_running_loop()
        kept.expiry = loop.call_later(self._window_s, self._forget, kept)

    def close(self) -> None:
        """Forget what waits now, and whatever is left from now on."""
        self._closed = True
        for kept in tuple(self._kept.values()):
            if kept.holder is None:
                self._forget(kept)

    def _require_window(self) -> None:
        if not self._window_s:
            raise StreamStateError(
                Reason.RESUME_UNAVAILABLE,
                "this server cannot resume streams; open one that is not resumable",
            )

    def _find(self, token: str, device: str) -> _Kept[S]:
        name, _, secret = token.partition(".")
        kept = self._kept.get(name)
        if (
            kept is not None
            and _are_equal(secret, kept.secret)
            and _are_equal(device, kept.device)
        ):
            return kept
        raise StreamStateError(
            Reason.RESUME_TOKEN_UNKNOWN,
            "no stream is kept under this resume_token for this device: open a new "
            "one and send again what has no answer",
        )

    def _held(self, kept: _Kept[S]) -> Hold[S]:
        if kept.expiry is not None:
            kept.expiry.cancel()
            kept.expiry = None
        hold = Hold(kept)
        kept.holder = hold
        return hold

    def _make_room(self, device: str) -> None:
        own = [kept for kept in self._kept.values() if kept.device == device]
        most = self._max_streams - self._max_streams // _RESERVED_PART
        has_most = len(own) >= most
        if len(self._kept) < self._max_streams and not has_most:
            return
        affected = own if has_most else self._kept.values()
        waiting = [kept for kept in affected if kept.holder is None]
        given_up = next(
            (kept for kept in waiting if kept.session.is_settled), None
        ) or _surplus(waiting, device)
        if given_up is None:
            raise _full()
        self._forget(given_up)

    def _forget(self, kept: _Kept[S]) -> None:
        del self._kept[kept.name]
        if kept.expiry is not None:
            kept.expiry.cancel()
        kept.session.close()


def _surplus(waiting: Sequence[_Kept[S]], device: str) -> _Kept[S] | None:
    """Return the stream that is given up for a new one of `device`, if any.

    Each has something to lose, so it is the oldest of the device that would have
    most: one whose connection keeps breaking must not use up the places of others,
    and a device never loses its only stream to another.
    """
    counts = Counter(kept.device for kept in waiting)
    counts[device] += 1
    most = max(counts, key=lambda name: (counts[name], name == device))
    return next((kept for kept in waiting if kept.device == most), None)


def _are_equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _full() -> SpinertError:
    error = Overloaded(
        Reason.RESUME_STREAMS_FULL,
        "as many resumable streams are open or kept as this server allows, or allows "
        "one device; retry later, or open one that is not resumable",
    )
    error.retry_after_ms = 1000
    return error
