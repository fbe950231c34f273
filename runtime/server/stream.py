"""One open stream: reads frames, hands them to the engine, writes the answers."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import grpc

from spinert.proto import inference_pb2 as pb
from spinert.runtime.decide.study import StudyTally
from spinert.runtime.errors import (
    Cancelled,
    ProtocolViolation,
    Reason,
    SpinertError,
    StreamStateError,
)
from spinert.runtime.frame import Answer, FrameRequest
from spinert.runtime.messages import (
    Refusal,
    frame_error_from_refusal,
    frame_request_from_wire,
    known_frame_id,
)
from spinert.runtime.replies import (
    FrameNames,
    Identity,
    names_from_frame,
    result_from_answer,
    wire_study_from_summary,
)
from spinert.runtime.server.faults import refusal_from_exception
from spinert.runtime.server.ledger import StreamLedger, Ticket
from spinert.runtime.server.wire import ReceivedFrame

__all__ = ["FrameEngine", "Serving", "StreamSession", "result_with_study"]

Reply = Answer | Refusal
Received = ReceivedFrame | pb.StreamRequest | ProtocolViolation


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
    """Lives as long as one Stream call; every frame taken is answered once.

    All methods but `_hand_over` run on the event loop. What it holds is bounded:
    the credits granted, and as many replies to frames sent without credit before
    it stops reading.
    """

    def __init__(
        self, serving: Serving, *, device: str, in_order: bool, max_in_flight: int
    ) -> None:
        """Start with `max_in_flight` credits given to `device`."""
        self._serving = serving
        self._device = device
        self._max_in_flight = max_in_flight
        self._ledger: StreamLedger[Reply] = StreamLedger(
            in_order=in_order, max_in_flight=max_in_flight
        )
        self._tally = StudyTally()
        self._names: dict[int, FrameNames] = {}
        self._futures: dict[int, concurrent.futures.Future[Answer]] = {}
        self._outbox: deque[tuple[Ticket, Reply]] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._refusing: SpinertError | None = None

    async def run(self, context: Any) -> None:
        """Serve until the client has sent and received everything.

        Raises:
            SpinertError: The one given to `drain`, once all frames are answered.
        """
        reader = asyncio.create_task(self._read(context))
        reader.add_done_callback(lambda _: self._wake.set())
        try:
            await self._write(context, reader)
        finally:
            reader.cancel()
            for future in tuple(self._futures.values()):
                future.cancel()

    def drain(self, error: SpinertError) -> None:
        """Refuse frames from now on, and end with `error` when none is in flight."""
        self._refusing = error
        self._wake.set()

    # ------------------------------------------------------------------ reading

    async def _read(self, context: Any) -> None:
        while (received := await context.read()) is not grpc.aio.EOF:
            self._receive(received)
            while self._ledger.unsent >= 2 * self._max_in_flight:
                self._room.clear()
                await self._room.wait()

    def _receive(self, received: Received) -> None:
        if isinstance(received, ReceivedFrame):
            self._receive_frame(received)
        elif isinstance(received, ProtocolViolation):
            # It may have been a frame, so it counts as one.
            ticket = self._ledger.take("", 0)
            self._settle(ticket, self._ledger.objection(ticket) or received)
        else:
            self._receive_other(received)

    def _receive_other(self, message: pb.StreamRequest) -> None:
        kind = message.WhichOneof("message")
        if kind == "cancel":
            self._cancel(message.cancel.frame_id)
        elif kind != "ack":
            # Ack frees nothing while streams cannot be resumed.
            self._settle(self._ledger.take_notice(), _misplaced(kind))

    def _receive_frame(self, received: ReceivedFrame) -> None:
        frame = received.frame
        ticket = self._ledger.take(known_frame_id(frame), frame.sequence)
        if objection := self._ledger.objection(ticket) or self._refusing:
            self._settle(ticket, objection)
            return
        try:
            request = frame_request_from_wire(
                frame,
                received.payload,
                device=self._device,
                arrived_s=self._serving.clock(),
            )
            future = self._serving.engine.submit(request)
        except Exception as error:
            self._settle(ticket, error)
            return
        self._names[ticket.number] = names_from_frame(frame)
        self._futures[ticket.number] = future
        future.add_done_callback(partial(self._hand_over, ticket))

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

    async def _write(self, context: Any, reader: asyncio.Task[None]) -> None:
        while True:
            self._wake.clear()
            while self._outbox:
                await self._send(context, *self._outbox.popleft())
            if self._has_ended(reader):
                return
            await self._wake.wait()

    async def _send(self, context: Any, ticket: Ticket, reply: Reply) -> None:
        await context.write(self._message(ticket, reply))
        granted = self._ledger.sent(ticket)
        self._room.set()
        if granted:
            await context.write(pb.StreamReply(credit=pb.Credit(frames=granted)))

    def _has_ended(self, reader: asyncio.Task[None]) -> bool:
        if self._outbox or self._ledger.unsent:
            return False
        if reader.done():
            reader.result()
            return True
        if self._refusing is not None:
            raise self._refusing
        return False

    def _message(self, ticket: Ticket, reply: Reply) -> pb.StreamReply:
        names = self._names.pop(ticket.number, FrameNames())
        if isinstance(reply, Refusal):
            return _frame_error(ticket, reply)
        try:
            result = result_with_study(
                reply, self._serving.identity(), names, self._tally
            )
        except Exception as error:
            return _frame_error(ticket, refusal_from_exception(error))
        return pb.StreamReply(result=result)


def result_with_study(
    answer: Answer, identity: Identity, names: FrameNames, tally: StudyTally
) -> pb.Result:
    """Build a frame's reply and count it for its study, if it has one."""
    result = result_from_answer(answer, identity, names)
    study = tally.add(result.study_uid, names.frame_id, names.sequence, answer.verdict)
    if study is not None:
        result.study.CopyFrom(wire_study_from_summary(study))
    return result


def _frame_error(ticket: Ticket, refusal: Refusal) -> pb.StreamReply:
    return pb.StreamReply(
        frame_error=frame_error_from_refusal(
            refusal, frame_id=ticket.frame_id, sequence=ticket.sequence
        )
    )


def _misplaced(kind: str | None) -> SpinertError:
    if kind == "open":
        return StreamStateError(
            Reason.STREAM_ALREADY_OPEN, "this stream is open; send Open only once"
        )
    return ProtocolViolation(
        Reason.MALFORMED_MESSAGE, "a StreamRequest of a kind this server does not know"
    )
