"""A stream that survives its connection, from the client's side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client.comeback import Comeback, may_pass, unreachable
from spinert.runtime.client.errors import (
    ended_early,
    failure_from_rpc_error,
    protocol_broken,
    refusal_from_frame_error,
)
from spinert.runtime.client.frames import Frame
from spinert.runtime.client.inbox import FrameAnswer, Inbox
from spinert.runtime.client.outbox import Outbox
from spinert.runtime.client.wire import Outgoing
from spinert.runtime.errors import Reason

__all__ = ["ResumingStream"]

_PARTING_S = 1.0
"""How long a stream that is left may take to tell the server."""


class ResumingStream:
    """As StreamCall, over as many calls as it takes.

    A frame and its answer are each kept by one side until the other has them: the
    payload here until its answer arrives, the answer at the server until it is
    acknowledged, which happens as the caller takes answers from here.
    """

    def __init__(
        self,
        open_call: Callable[[], Any],
        *,
        max_in_flight: int | None,
        max_message_bytes: int,
        on_forgotten: Callable[[], Awaitable[None]],
    ) -> None:
        """Call `open_call` for each try, `on_forgotten` before one that starts anew.

        Both may raise grpc.aio.AioRpcError: it counts as a connection that broke.
        """
        self._open_call, self._on_forgotten = open_call, on_forgotten
        self._opening = pb.Open()
        self._inbox = Inbox()
        self._outbox = Outbox(
            self._inbox,
            max_in_flight=max_in_flight,
            max_message_bytes=max_message_bytes,
        )
        self._comeback = Comeback()
        self._is_forgotten = False
        self._is_leaving = False

    async def answers(
        self, opening: pb.Open, frames: AsyncIterator[Frame]
    ) -> AsyncGenerator[FrameAnswer, None]:
        """Open the stream, send `frames` and yield each answer once.

        Raises:
            grpc.aio.AioRpcError: The stream could not be opened, or not be resumed
                within its window. What `frames` raises comes through, too.
            RequestFailed: The server is there again and does not answer in time, or
                does not keep to the protocol.
        """
        self._opening = opening
        in_order = opening.order != pb.ORDER_AS_COMPLETED
        connected = asyncio.create_task(self._inbox.guard(self._stay_connected()))
        senders = [
            asyncio.create_task(self._inbox.guard(work))
            for work in (
                self._outbox.draw(frames, in_order=in_order),
                self._outbox.send(),
                self._outbox.acknowledge(),
            )
        ]
        try:
            while (answer := await self._inbox.take()) is not None:
                self._outbox.taken(answer.sequence)
                yield answer
        finally:
            await self._leave(connected, senders)

    async def _leave(
        self, connected: asyncio.Task[None], senders: list[asyncio.Task[None]]
    ) -> None:
        """Tell the server that the rest is not wanted, if it listens."""
        self._is_leaving = True
        try:
            async with asyncio.timeout(_PARTING_S):
                if await self._outbox.part(senders):
                    await asyncio.wait((connected,))
        except TimeoutError:
            pass
        finally:
            for task in (connected, *senders):
                task.cancel()

    async def _stay_connected(self) -> None:
        while not self._is_leaving:
            try:
                await self._connect()
            except grpc.aio.AioRpcError as error:
                await self._recover(error)

    async def _connect(self) -> None:
        """Make one try, to the end of its call."""
        if self._is_forgotten:
            await self._on_forgotten()
            self._is_forgotten = False
        call = self._open_call()
        try:
            await self._converse(call)
        finally:
            self._outbox.disconnect()
            call.cancel()

    async def _converse(self, call: Any) -> None:
        """Open or resume the stream on `call` and read it to its end."""
        opening = pb.StreamRequest(open=self._opening).SerializeToString()
        # Where it fails, reading tells why.
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await call.write(Outgoing((opening,)))
        reply = await self._first_reply(call)
        if reply is not grpc.aio.EOF:
            self._start(call, reply)
            while (reply := await call.read()) is not grpc.aio.EOF:
                self._take(reply)
        if not self._is_leaving:
            raise ended_early()

    async def _first_reply(self, call: Any) -> Any:
        """Wait for Opened, where there is a window as long as it lasts."""
        window_s = self._comeback.window_s
        left_s = self._comeback.left_s(time.monotonic())
        try:
            async with asyncio.timeout(left_s if window_s else None):
                return await call.read()
        except TimeoutError:
            raise unreachable(window_s) from None

    def _start(self, call: Any, reply: pb.StreamReply) -> None:
        if not reply.HasField("opened"):
            raise protocol_broken("answered before it opened the stream")
        opened = reply.opened
        has_more = self._outbox.connect(call, opened)
        self._opening.resume_token = opened.resume_token
        self._comeback.opened(time.monotonic(), opened.resume_window_ms / 1000)
        if has_more:
            self._comeback.progressed()

    def _take(self, reply: pb.StreamReply) -> None:
        kind = reply.WhichOneof("message")
        if kind == "result":
            self._arrive(reply.result)
        elif kind == "frame_error":
            self._arrive(refusal_from_frame_error(reply.frame_error))
        elif kind == "credit":
            self._outbox.grant(reply.credit.frames)

    def _arrive(self, answer: FrameAnswer) -> None:
        if self._outbox.arrive(answer):
            self._comeback.progressed()

    async def _recover(self, error: grpc.aio.AioRpcError) -> None:
        """Wait a little before the next try, or give up with `error`."""
        failure = failure_from_rpc_error(error)
        if self._is_leaving:
            return
        now_s = time.monotonic()
        self._comeback.broke(now_s)
        if not self._comeback.left_s(now_s) or not may_pass(failure):
            raise error
        if failure.reason == Reason.RESUME_TOKEN_UNKNOWN:
            # Forgotten, as by a restarted server: what has no answer is sent again.
            self._opening.resume_token = ""
            self._is_forgotten = True
        asked_s = failure.retry_after_ms / 1000
        await asyncio.sleep(self._comeback.next_delay_s(now_s, asked_s=asked_s))
