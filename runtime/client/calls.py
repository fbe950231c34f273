"""One Stream call from the client's side: credit out, answers in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client.errors import (
    ended_early,
    message_too_large,
    refusal_from_failure,
    refusal_from_frame_error,
    stray_answer,
)
from spinert.runtime.client.frames import Frame
from spinert.runtime.client.inbox import FrameAnswer, Inbox
from spinert.runtime.client.wire import Outgoing, outgoing_frame

__all__ = ["StreamCall"]


class StreamCall:
    """Sends frames as credit allows and yields one answer for each.

    A frame is outstanding until its answer is taken from here, so a caller that
    is slow to take answers slows the sending down instead of filling memory. The
    source is asked for a frame only when it may be sent.
    """

    def __init__(
        self, call: Any, *, max_in_flight: int | None, max_message_bytes: int
    ) -> None:
        """Take over `call`, a stream-stream call nothing was sent on."""
        self._call = call
        self._limit = max_in_flight
        self._max_message_bytes = max_message_bytes
        self._in_order = True
        self._credit = 0
        self._outstanding: set[int] = set()
        self._is_all_sent = False
        self._changed = asyncio.Event()
        self._inbox = Inbox()

    async def answers(
        self, opening: pb.Open, frames: AsyncIterator[Frame]
    ) -> AsyncGenerator[FrameAnswer, None]:
        """Open the stream, send `frames` and yield the answers.

        Raises:
            grpc.aio.AioRpcError: The stream broke. What `frames` raises comes
                through, too.
            RequestFailed: The server does not keep to the protocol.
        """
        self._in_order = opening.order != pb.ORDER_AS_COMPLETED
        tasks = (
            asyncio.create_task(self._inbox.guard(self._send(opening, frames))),
            asyncio.create_task(self._inbox.guard(self._receive())),
        )
        try:
            while (answer := await self._inbox.take()) is not None:
                if answer.sequence not in self._outstanding:
                    raise stray_answer(answer)
                self._outstanding.remove(answer.sequence)
                self._changed.set()
                yield answer
            if self._outstanding or not self._is_all_sent:
                raise ended_early()
        finally:
            for task in tasks:
                task.cancel()
            self._call.cancel()

    # ------------------------------------------------------------------ sending

    async def _send(self, opening: pb.Open, frames: AsyncIterator[Frame]) -> None:
        sequence = 0
        if not await self._write(Outgoing((_open_bytes(opening),))):
            return
        while True:
            await self._until_may_send()
            frame = await anext(frames, None)
            if frame is None:
                break
            sequence += 1
            if not await self._send_frame(frame, sequence):
                return
        self._is_all_sent = True
        await self._call.done_writing()

    async def _until_may_send(self) -> None:
        while not self._credit or len(self._outstanding) >= (self._limit or 1):
            self._changed.clear()
            await self._changed.wait()

    async def _send_frame(self, frame: Frame, sequence: int) -> bool:
        frame_id = frame.options.frame_id or str(sequence)
        message = outgoing_frame(frame, frame_id, sequence)
        if message.size_bytes > self._max_message_bytes:
            # Sent, it would end the whole stream: gRPC has no other way.
            await self._refuse(frame_id, sequence, message.size_bytes)
            return True
        self._credit -= 1
        self._outstanding.add(sequence)
        return await self._write(message)

    async def _refuse(self, frame_id: str, sequence: int, size_bytes: int) -> None:
        while self._in_order and self._outstanding:
            self._changed.clear()
            await self._changed.wait()
        failure = message_too_large(size_bytes, self._max_message_bytes)
        self._outstanding.add(sequence)
        self._inbox.put(
            refusal_from_failure(failure, frame_id=frame_id, sequence=sequence)
        )

    async def _write(self, message: Outgoing) -> bool:
        """Return False where the stream is over; reading tells why."""
        try:
            await self._call.write(message)
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            return False
        return True

    # ---------------------------------------------------------------- receiving

    async def _receive(self) -> None:
        while (reply := await self._call.read()) is not grpc.aio.EOF:
            self._take(reply)
        self._inbox.end()

    def _take(self, reply: pb.StreamReply) -> None:
        kind = reply.WhichOneof("message")
        if kind == "result":
            self._inbox.put(reply.result)
        elif kind == "frame_error":
            self._inbox.put(refusal_from_frame_error(reply.frame_error))
        elif kind == "credit":
            self._credit += reply.credit.frames
        elif kind == "opened":
            limits = reply.opened.limits
            self._limit = min(
                self._limit or limits.max_frames_in_flight, limits.max_frames_in_flight
            )
            self._max_message_bytes = min(
                self._max_message_bytes, limits.max_message_bytes
            )
        self._changed.set()


def _open_bytes(opening: pb.Open) -> bytes:
    return pb.StreamRequest(open=opening).SerializeToString()
