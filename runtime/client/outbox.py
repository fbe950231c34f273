"""What a resumable stream sends: frames, again where one was lost, and what is owed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client.errors import (
    message_too_large,
    protocol_broken,
    refusal_from_failure,
    stray_answer,
)
from spinert.runtime.client.frames import Frame
from spinert.runtime.client.inbox import FrameAnswer, Inbox
from spinert.runtime.client.send_book import SendBook
from spinert.runtime.client.wire import Outgoing, outgoing_frame
from spinert.runtime.errors import Reason

__all__ = ["Outbox"]


@dataclass(frozen=True, slots=True)
class _Sent:
    frame_id: str
    message: Outgoing


class Outbox:
    """Writes on whatever connection there is; keeps a frame until its answer is there.

    `draw`, `send` and `acknowledge` each want a task of their own: a source that
    waits for an answer must not keep the frame that was lost from being sent again.
    """

    def __init__(
        self, inbox: Inbox, *, max_in_flight: int | None, max_message_bytes: int
    ) -> None:
        """Leave answers in `inbox`; a server may lower both limits."""
        self._inbox = inbox
        self._limit = max_in_flight
        self._max_message_bytes = max_message_bytes
        self._book: SendBook[_Sent] = SendBook()
        self._call: Any = None
        """Open, as far as is known; None before the first and between two."""
        self._received = 0
        self._credit = 0
        self._acknowledged = 0
        self._outstanding = 0
        self._is_exhausted = False
        self._writing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._owing = asyncio.Event()

    # -------------------------------------------------------------- connections

    def connect(self, call: Any, opened: pb.Opened) -> bool:
        """Go on over `call`; tell whether the server has more frames than before.

        Raises:
            RequestFailed: It has some that were not sent.
        """
        received = opened.received_sequence
        if received >= self._book.next_sequence:
            raise protocol_broken("has frames that were not sent")
        most = opened.limits.max_frames_in_flight
        self._limit = min(self._limit or most, most)
        self._max_message_bytes = min(
            self._max_message_bytes, opened.limits.max_message_bytes
        )
        self._book.resume(received)
        self._call, self._credit, self._acknowledged = call, 0, 0
        self._changed.set()
        self._owing.set()
        has_more = received > self._received
        self._received = received
        return has_more

    def disconnect(self) -> None:
        """Write nothing until the next `connect`."""
        self._call, self._credit = None, 0

    def grant(self, frames: int) -> None:
        """Note the permission to send that many more."""
        self._credit += frames
        self._changed.set()

    async def part(self, tasks: Iterable[asyncio.Task[None]]) -> bool:
        """End `tasks`, withdraw and acknowledge everything, say that no more comes.

        Return whether there is a connection that heard it.
        """
        # gRPC ends a call whose writing is cancelled.
        async with self._writing:
            for task in tasks:
                task.cancel()
        for frame in self._book.unanswered:
            cancel = pb.Cancel(frame_id=frame.frame_id)
            await self._write(_message(pb.StreamRequest(cancel=cancel)))
        last = pb.Ack(sequence=self._book.next_sequence - 1)
        await self._write(_message(pb.StreamRequest(ack=last)))
        if self._call is None:
            return False
        await self._call.done_writing()
        return True

    # ------------------------------------------------------------------ sending

    async def draw(self, frames: AsyncIterator[Frame], *, in_order: bool) -> None:
        """Ask for each of `frames` when it could be sent at once."""
        while True:
            await self._until(self._may_draw)
            if (frame := await anext(frames, None)) is None:
                break
            await self._add(frame, in_order)
        self._is_exhausted = True
        self._end_if_done()

    async def send(self) -> None:
        """Send what there is to send, or to send again, as credit allows."""
        while True:
            await self._until(self._may_send)
            async with self._writing:
                # Another call may have come while this one waited for its turn.
                if self._may_send():
                    self._credit -= 1
                    await self._put(self._book.take_unsent().message)

    async def acknowledge(self) -> None:
        """Tell the server now and then what the caller has."""
        while True:
            await self._owing.wait()
            self._owing.clear()
            held = self._book.acknowledgement
            owed = held - self._acknowledged
            enough = max(1, (self._limit or 1) // 4) if self._outstanding else 1
            if self._call is not None and owed >= enough:
                self._acknowledged = held
                ack = pb.StreamRequest(ack=pb.Ack(sequence=held))
                await self._write(_message(ack))

    def _may_send(self) -> bool:
        return self._credit > 0 and self._book.has_unsent

    def _may_draw(self) -> bool:
        # What is drawn while another is being written would only grow old.
        is_busy = self._book.has_unsent or self._writing.locked()
        has_room = self._outstanding < (self._limit or 1)
        return self._credit > 0 and has_room and not is_busy

    async def _add(self, frame: Frame, in_order: bool) -> None:
        sequence = self._book.next_sequence
        frame_id = frame.options.frame_id or str(sequence)
        message = outgoing_frame(frame, frame_id, sequence)
        if message.size_bytes <= self._max_message_bytes:
            self._outstanding += 1
            self._book.add(_Sent(frame_id, message))
            self._changed.set()
            return
        # Sent, it would end the whole stream: gRPC has no other way.
        await self._until(lambda: not (in_order and self._outstanding))
        failure = message_too_large(message.size_bytes, self._max_message_bytes)
        self._outstanding += 1
        self._book.skip()
        self._inbox.put(
            refusal_from_failure(failure, frame_id=frame_id, sequence=sequence)
        )

    async def _write(self, message: Outgoing) -> None:
        async with self._writing:
            await self._put(message)

    async def _put(self, message: Outgoing) -> None:
        """Write on the call there is; where that is over, reading tells why."""
        if self._call is not None:
            with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
                await self._call.write(message)
        self._changed.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    # ------------------------------------------------------------------ answers

    def arrive(self, answer: FrameAnswer) -> bool:
        """Leave an answer for the caller; tell whether it was one, and a new one.

        Raises:
            RequestFailed: It belongs to no frame that was sent.
        """
        if not self._book.was_sent(answer.sequence):
            raise stray_answer(answer)
        if getattr(answer, "reason", "") == Reason.SHUTTING_DOWN:
            # This server ends the stream next, and the one after it gets the frame.
            return False
        if not self._book.answer(answer.sequence):
            return False
        self._inbox.put(answer)
        self._end_if_done()
        return True

    def taken(self, sequence: int) -> None:
        """Note that the caller has the answer to that frame."""
        self._book.hold(sequence)
        self._outstanding -= 1
        self._changed.set()
        self._owing.set()

    def _end_if_done(self) -> None:
        if self._is_exhausted and not self._book.unanswered:
            self._inbox.end()


def _message(request: pb.StreamRequest) -> Outgoing:
    return Outgoing((request.SerializeToString(),))
