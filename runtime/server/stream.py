"""One open stream: reads frames, hands them to the engine, writes the answers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import grpc

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import (
    Cancelled,
    ProtocolViolation,
    Reason,
    SpinertError,
    StreamStateError,
)
from spinert.runtime.frame import Answer, FrameRequest
from spinert.runtime.messages import frame_request_from_wire, known_frame_id
from spinert.runtime.replies import Identity
from spinert.runtime.server.faults import refusal_from_exception
from spinert.runtime.server.ledger import StreamLedger, Ticket
from spinert.runtime.server.stream_replies import Reply, StreamReplies
from spinert.runtime.server.stream_terms import Connection, Received, StreamTerms
from spinert.runtime.server.wire import ReceivedFrame

__all__ = ["FrameEngine", "Serving", "StreamSession"]


class FrameEngine(Protocol):
    """What the front needs of an engine."""

    def submit(self, request: FrameRequest) -> concurrent.futures.Future[Answer]:
        """Admit a frame without blocking; cancelling the future withdraws it.

        Raises:
            RefusedNow: No room, too late, or shutting down.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """A front that can answer: with what, as whom, on which clock."""

    engine: FrameEngine
    identity: Callable[[], Identity]
    """What answers say of their origin at the moment."""
    clock: Callable[[], float]
    """Monotonic, in seconds; the engine's own."""


class StreamSession:
    """The frames of one stream, from being taken until they are answered, once each.

    `run` lives as long as one call. A resumable session may run again, on another
    connection; in between, its frames go on and their answers wait. All methods but
    `_hand_over` run on the event loop. What it holds is bounded: the credits
    granted, and as many replies to frames sent without credit before it stops
    reading.
    """

    def __init__(self, serving: Serving, terms: StreamTerms) -> None:
        """Start without a connection."""
        self._serving = serving
        self._terms = terms
        self._live_view = secrets.token_hex(8) if terms.is_live_view else ""
        self._ledger: StreamLedger[Reply, pb.StreamReply] = StreamLedger(
            in_order=terms.in_order,
            max_in_flight=terms.max_in_flight,
            resumable=terms.is_resumable,
        )
        self._replies = StreamReplies(serving.identity)
        self._futures: dict[int, concurrent.futures.Future[Answer]] = {}
        self._outbox: deque[tuple[Ticket, Reply]] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._refusing: SpinertError | None = None

    @property
    def is_settled(self) -> bool:
        """Nothing is in flight, and the client holds every answer."""
        return self._ledger.is_settled

    @property
    def received_sequence(self) -> int:
        """The highest number taken; 0 where frames need none."""
        return self._ledger.received_sequence

    async def run(self, connection: Connection) -> None:
        """Serve one connection until the client has sent and received everything.

        Raises:
            SpinertError: The one given to `drain`, once all frames are answered.
            StreamStateError: The connection was `cut`.
        """
        reader = asyncio.create_task(self._read(connection))
        reader.add_done_callback(lambda _: self._wake.set())
        writer = asyncio.create_task(self._write(connection, reader))
        tasks = self._tasks = (reader, writer)
        try:
            await asyncio.wait((writer,))
        finally:
            for task in tasks:  # of this connection: the next may have begun
                task.cancel()
                task.add_done_callback(_retrieved)
        if writer.cancelled():
            raise StreamStateError(
                Reason.STREAM_TAKEN_OVER, "another call has resumed this stream"
            )
        writer.result()

    async def cut(self) -> None:
        """End the connection there is, if any; what it took is complete then."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def drain(self, error: SpinertError) -> None:
        """Refuse frames from now on, and end with `error` when none is in flight."""
        self._refusing = error
        self._wake.set()

    def close(self) -> None:
        """Withdraw what is in flight: nobody will ask for its answers."""
        for future in tuple(self._futures.values()):
            future.cancel()

    # ------------------------------------------------------------------ reading

    async def _read(self, connection: Connection) -> None:
        while (received := await connection.context.read()) is not grpc.aio.EOF:
            self._receive(received, connection)
            while self._ledger.unsent >= 2 * self._terms.max_in_flight:
                self._room.clear()
                await self._room.wait()

    def _receive(self, received: Received, connection: Connection) -> None:
        if isinstance(received, ReceivedFrame):
            if self._ledger.repeats(received.frame.sequence):
                self._wake.set()
            else:
                self._receive_frame(received, connection)
        elif isinstance(received, ProtocolViolation):
            # It may have been a frame, so it counts as one.
            ticket = self._ledger.take("", 0)
            self._settle(ticket, self._ledger.excess(ticket) or received)
        else:
            self._receive_other(received)

    def _receive_other(self, message: pb.StreamRequest) -> None:
        kind = message.WhichOneof("message")
        if kind == "cancel":
            self._cancel(message.cancel.frame_id)
        elif kind == "ack":
            self._ledger.acknowledge(message.ack.sequence)
            self._wake.set()
        else:
            self._settle(self._ledger.take_notice(), _misplaced(kind))

    def _receive_frame(self, received: ReceivedFrame, connection: Connection) -> None:
        frame = received.frame
        ticket = self._ledger.take(known_frame_id(frame), frame.sequence)
        if objection := self._ledger.objection(ticket) or self._refusing:
            self._settle(ticket, objection)
            return
        try:
            request = self._request(received, connection)
            future = self._serving.engine.submit(request)
        except Exception as error:
            self._settle(ticket, error)
            return
        self._replies.expect(ticket, frame)
        self._futures[ticket.number] = future
        future.add_done_callback(partial(self._hand_over, ticket))

    def _request(self, received: ReceivedFrame, connection: Connection) -> FrameRequest:
        frame = received.frame
        if frame.priority == pb.PRIORITY_UNSPECIFIED:
            frame.priority = self._terms.priority
        request = frame_request_from_wire(
            frame,
            connection.payload_of(received),
            device=self._terms.device,
            arrived_s=self._serving.clock(),
        )
        if not self._live_view:
            return request
        return replace(request, live_view=self._live_view)

    def _cancel(self, frame_id: str) -> None:
        ticket = self._ledger.find(frame_id)
        # An unknown id is one that was answered while the Cancel was on its way.
        if ticket is not None and (future := self._futures.get(ticket.number)):
            future.cancel()

    # ------------------------------------------------------------------ answers

    def _hand_over(
        self, ticket: Ticket, future: concurrent.futures.Future[Answer]
    ) -> None:
        """Bring a finished frame from an engine thread to the event loop."""
        # The loop is closed when the server ended before the engine did.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._finish, ticket, future)

    def _finish(
        self, ticket: Ticket, future: concurrent.futures.Future[Answer]
    ) -> None:
        del self._futures[ticket.number]
        if future.cancelled():
            outcome: Answer | BaseException = Cancelled(
                Reason.CANCELLED, "withdrawn by the client"
            )
        else:
            outcome = future.exception() or future.result()
        self._settle(ticket, outcome)

    def _settle(self, ticket: Ticket, outcome: Answer | BaseException) -> None:
        if isinstance(outcome, BaseException):
            # An error's traceback would keep the frame's pixels until its turn.
            reply: Reply = refusal_from_exception(outcome)
        else:
            reply = outcome
        self._outbox.extend(self._ledger.settle(ticket, reply))
        self._wake.set()

    # ------------------------------------------------------------------ writing

    async def _write(self, connection: Connection, reader: asyncio.Task[None]) -> None:
        context = connection.context
        await context.write(pb.StreamReply(opened=connection.opened))
        await _give(context, self._ledger.regrant())
        for message in self._ledger.unacknowledged().values():
            await context.write(message)
        while True:
            self._wake.clear()
            await self._send_all(context)
            if self._has_ended(reader):
                return
            await self._wake.wait()

    async def _send_all(self, context: Any) -> None:
        while self._outbox:
            ticket, reply = self._outbox.popleft()
            message = self._replies.message(ticket, reply)
            self._ledger.sending(ticket, message)
            granted = 0
            try:
                await context.write(message)
            finally:
                granted = self._ledger.sent(ticket)
                self._room.set()
            await _give(context, granted)
        await _give(context, self._ledger.grant())

    def _has_ended(self, reader: asyncio.Task[None]) -> bool:
        if self._outbox or self._ledger.unsent:
            return False
        if reader.done():
            reader.result()
            return True
        if self._refusing is not None:
            raise self._refusing
        return False


async def _give(context: Any, credits: int) -> None:
    if credits:
        await context.write(pb.StreamReply(credit=pb.Credit(frames=credits)))


def _retrieved(task: asyncio.Task[None]) -> None:
    """Look at how a task ended: what nobody awaits would be logged as lost."""
    if not task.cancelled():
        task.exception()


def _misplaced(kind: str | None) -> SpinertError:
    if kind == "open":
        return StreamStateError(
            Reason.STREAM_ALREADY_OPEN, "this stream is open; send Open only once"
        )
    return ProtocolViolation(
        Reason.MALFORMED_MESSAGE, "a StreamRequest of a kind this server does not know"
    )
