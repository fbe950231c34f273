"""The streams of a server: opened, resumed, drained."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import SpinertError
from spinert.runtime.frame import Payload
from spinert.runtime.messages import checked_device
from spinert.runtime.server.resume import Hold, ResumeStore
from spinert.runtime.server.stream import Serving, StreamSession
from spinert.runtime.server.stream_terms import Connection, StreamTerms
from spinert.runtime.server.wire import ReceivedFrame

__all__ = ["StreamHost"]


class StreamHost:
    """Has every stream that is connected, and those that wait to be resumed."""

    def __init__(
        self, limits: pb.Limits, *, resume_window_s: float, resume_max_streams: int
    ) -> None:
        """Start without streams.

        Args:
            limits: What clients are told and held to.
            resume_window_s: How long a stream without a connection is kept; 0: none
                can be resumed.
            resume_max_streams: How many resumable ones there may be.
        """
        self._limits = limits
        self._store: ResumeStore[StreamSession] = ResumeStore(
            window_s=resume_window_s, max_streams=resume_max_streams
        )
        self._connected: dict[Connection, StreamSession] = {}
        self._refusing: SpinertError | None = None

    @property
    def connected(self) -> tuple[StreamSession, ...]:
        """The streams that have a connection."""
        return tuple(self._connected.values())

    @property
    def resumable(self) -> int:
        """Count the resumable streams, connected or waiting."""
        return len(self._store)

    async def serve(
        self,
        serving: Serving,
        opening: pb.Open,
        context: Any,
        payload_of: Callable[[ReceivedFrame], Payload],
    ) -> None:
        """Serve one call, which begins with `opening`, to its end.

        Raises:
            SpinertError: The stream cannot be opened or resumed, was taken over, or
                the server shuts down.
        """
        device = checked_device(opening.device)
        async with self._session(serving, opening, device, context) as (session, hold):
            opened = pb.Opened(limits=self._limits)
            if hold is not None:
                opened.resume_token = hold.token
                opened.received_sequence = session.received_sequence
                opened.resume_window_ms = self._store.window_ms
            connection = Connection(
                context=context, opened=opened, payload_of=payload_of
            )
            self._connected[connection] = session
            if self._refusing is not None:
                session.drain(self._refusing)
            try:
                await session.run(connection)
            finally:
                del self._connected[connection]

    def drain(self, error: SpinertError) -> None:
        """Refuse frames with `error`; nobody can come back to a stream left now."""
        self._refusing = error
        for session in self.connected:
            session.drain(error)
        self._store.close()

    @asynccontextmanager
    async def _session(
        self, serving: Serving, opening: pb.Open, device: str, context: Any
    ) -> AsyncIterator[tuple[StreamSession, Hold[StreamSession] | None]]:
        """Open or resume a stream, and leave or close it at the end."""
        hold: Hold[StreamSession] | None = None
        if opening.resume_token:
            hold = await self._store.resume(opening.resume_token, device)
            session = hold.session
        else:
            session = StreamSession(serving, self._terms(opening, device, context))
            if opening.resumable:
                hold = self._store.add(session, device)
        try:
            yield session, hold
        finally:
            if hold is None:
                session.close()
            else:
                self._store.leave(hold)

    def _terms(self, opening: pb.Open, device: str, context: Any) -> StreamTerms:
        return StreamTerms(
            # Who gives no name is its peer, so that clients do not share a quota.
            device=device or str(context.peer()),
            max_in_flight=self._limits.max_frames_in_flight,
            in_order=opening.order != pb.ORDER_AS_COMPLETED,
            is_resumable=opening.resumable,
            is_live_view=opening.latest_frame_wins,
            priority=opening.priority,
        )
