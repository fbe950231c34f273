"""The asyncio client; spinert.runtime.client.sync drives the same code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType

import grpc

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client.calls import StreamCall
from spinert.runtime.client.errors import (
    RequestFailed,
    failure_from_rpc_error,
    message_too_large,
)
from spinert.runtime.client.frames import Frame
from spinert.runtime.client.inbox import FrameAnswer
from spinert.runtime.client.options import client_options
from spinert.runtime.client.resuming import ResumingStream
from spinert.runtime.client.shared import SharedMemory, SharedSender
from spinert.runtime.client.wire import (
    bytes_from_outgoing,
    outgoing_analyze,
    wire_priority,
)
from spinert.runtime.frame import Priority

__all__ = ["AsyncClient"]

_SERVICE = "/spinert.v1.SpineInference/"
_POLL_S = 0.1


class AsyncClient:
    """Talks to one SpineRT server over one connection.

    >>> async with AsyncClient("127.0.0.1:50051") as client:  # doctest: +SKIP
    ...     result = await client.analyze(Frame.from_path("spine.dcm"))

    Belongs to the event loop it was entered on.
    """

    def __init__(
        self,
        address: str,
        *,
        device: str = "",
        credentials: grpc.ChannelCredentials | None = None,
        max_message_mib: int = 64,
        keepalive_ms: int = 20_000,
        shared_memory: SharedMemory | None = None,
    ) -> None:
        """Describe a client; the connection is made on entering.

        Args:
            address: HOST:PORT, or unix:PATH of a socket of this machine.
            device: Which device sends: the unit of fairness and quotas, at most
                64 bytes, no patient data.
            credentials: For TLS; None speaks plain text, for loopback.
            max_message_mib: Largest message. Once the server was asked what it is
                (`server_info`, `wait_ready`), a frame above its limit is not sent.
            keepalive_ms: Silence after which the server is asked whether it is
                still there. Servers cut off clients that ask every 5 s.
            shared_memory: Send frames through memory shared with a server of this
                machine; None sends them in messages.
        """
        self._address = address
        self._device = device
        self._credentials = credentials
        self._max_message_bytes = max_message_mib * 2**20
        self._server_max_bytes = self._max_message_bytes
        self._options = client_options(
            max_message_mib=max_message_mib, keepalive_ms=keepalive_ms
        )
        self._shared_memory = shared_memory
        self._shared: SharedSender | None = None

    async def __aenter__(self) -> AsyncClient:
        """Make the channel; it connects on the first call."""
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(self._address, self._options)
        else:
            channel = grpc.aio.secure_channel(
                self._address, self._credentials, self._options
            )
        self._channel = channel
        self._analyze = channel.unary_unary(
            f"{_SERVICE}Analyze",
            request_serializer=bytes_from_outgoing,
            response_deserializer=pb.AnalyzeReply.FromString,
        )
        self._stream = channel.stream_stream(
            f"{_SERVICE}Stream",
            request_serializer=bytes_from_outgoing,
            response_deserializer=pb.StreamReply.FromString,
        )
        self._info = channel.unary_unary(
            f"{_SERVICE}GetServerInfo",
            request_serializer=pb.GetServerInfoRequest.SerializeToString,
            response_deserializer=pb.ServerInfo.FromString,
        )
        if self._shared_memory is not None:
            try:
                self._shared = SharedSender(self._shared_memory, channel)
            except BaseException:
                await channel.close()
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection; calls in flight end."""
        if self._shared is not None:
            await self._shared.close()
        await self._channel.close()

    async def analyze(
        self, frame: Frame, *, timeout_s: float | None = 60.0
    ) -> pb.Result:
        """Send one frame and wait for its answer.

        Where the server is starting or overloaded it is asked again, up to five
        times, as long as `timeout_s` allows.

        Raises:
            RequestFailed: No answer; `reason` says why.
        """
        send = partial(self._analyze_once, timeout_s=timeout_s)
        if self._shared is None:
            return await send(frame)
        return await self._shared.analyze(frame, send)

    async def _analyze_once(
        self, frame: Frame, *, timeout_s: float | None
    ) -> pb.Result:
        message = outgoing_analyze(frame, frame.options.frame_id, self._device)
        most_bytes = min(self._max_message_bytes, self._server_max_bytes)
        if message.size_bytes > most_bytes:
            raise message_too_large(message.size_bytes, most_bytes)
        try:
            reply = await self._analyze(message, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise failure_from_rpc_error(error) from error
        result: pb.Result = reply.result
        return result

    async def stream(
        self,
        frames: AsyncIterable[Frame],
        *,
        in_order: bool = True,
        max_in_flight: int | None = None,
        resumable: bool = False,
        latest_frame_wins: bool = False,
        priority: Priority | None = None,
    ) -> AsyncGenerator[FrameAnswer, None]:
        """Send frames over one stream and yield one answer for each.

        Args:
            frames: Asked for the next frame only when it may be sent.
            in_order: Answers come in the order of the frames; False: as ready.
            max_in_flight: Frames sent whose answer was not taken; None: as many
                as the server allows.
            resumable: Come back after a broken connection, for as long as the
                server keeps the stream (docs/streams.md); no frame is lost and
                none answered twice.
            latest_frame_wins: Live view: a frame that waits for the one before it
                when the next one arrives is refused with SUPERSEDED.
            priority: Of frames that name none; None: ROUTINE.

        Yields:
            A Result, or a FrameRefusal where that frame is not served.

        Raises:
            RequestFailed: The stream itself ended; frames without an answer were
                not served.
            ValueError: `max_in_flight` is below 1.
        """
        if max_in_flight is not None and max_in_flight < 1:
            raise ValueError("max_in_flight is at least 1, or None")
        opening = pb.Open(
            device=self._device,
            order=pb.ORDER_IN_ORDER if in_order else pb.ORDER_AS_COMPLETED,
            resumable=resumable,
            latest_frame_wins=latest_frame_wins,
            priority=wire_priority(priority),
        )
        call = self._frame_stream(resumable, max_in_flight)
        shared = None if self._shared is None else self._shared.stream()
        source = aiter(frames) if shared is None else shared.frames(aiter(frames))
        answers = call.answers(opening, source)
        try:
            async for answer in answers:
                if shared is not None:
                    shared.answered(answer.sequence)
                yield answer
        except grpc.aio.AioRpcError as error:
            raise failure_from_rpc_error(error) from error
        finally:
            await answers.aclose()
            if shared is not None:
                shared.close()

    def _frame_stream(
        self, resumable: bool, max_in_flight: int | None
    ) -> StreamCall | ResumingStream:
        most_bytes = self._max_message_bytes
        if resumable:
            return ResumingStream(
                self._stream,
                max_in_flight=max_in_flight,
                max_message_bytes=most_bytes,
                on_forgotten=self._told_again,
            )
        return StreamCall(
            self._stream(), max_in_flight=max_in_flight, max_message_bytes=most_bytes
        )

    async def _told_again(self) -> None:
        """Tell a server that has forgotten a stream of the memory, too."""
        if self._shared is not None:
            await self._shared.tell()

    def shared_slot(self) -> AbstractAsyncContextManager[memoryview]:
        """Lend memory for one frame that its server can read, once some is free.

        A frame made of an array in it is sent without copying a pixel.

        >>> async with client.shared_slot() as memory:  # doctest: +SKIP
        ...     pixels = np.frombuffer(memory, np.uint16, rows * columns)
        ...     detector.read_into(pixels)
        ...     frame = Frame.from_array(pixels.reshape(rows, columns), twelve_bit)
        ...     result = await client.analyze(frame)

        Raises:
            RuntimeError: The client was made without `shared_memory`.
        """
        if self._shared is None:
            raise RuntimeError("give the client shared_memory=SharedMemory(...)")
        return self._shared.slot()

    async def server_info(self, *, timeout_s: float = 10.0) -> pb.ServerInfo:
        """Ask what is served.

        Raises:
            RequestFailed: No server there, or it is not ready.
        """
        try:
            info: pb.ServerInfo = await self._info(
                pb.GetServerInfoRequest(), timeout=timeout_s
            )
        except grpc.aio.AioRpcError as error:
            raise failure_from_rpc_error(error) from error
        # One that tells none has it told by gRPC.
        told_bytes = info.limits.max_message_bytes
        self._server_max_bytes = told_bytes or self._max_message_bytes
        return info

    async def wait_ready(self, timeout_s: float) -> pb.ServerInfo:
        """Wait until the server answers frames; return what it says of itself.

        Raises:
            RequestFailed: It does not within `timeout_s`, or never will.
        """
        until_s = time.monotonic() + timeout_s
        while True:
            left_s = max(_POLL_S, until_s - time.monotonic())
            try:
                return await self.server_info(timeout_s=left_s)
            except RequestFailed as failure:
                waiting_helps = failure.status is grpc.StatusCode.UNAVAILABLE
                if not waiting_helps or time.monotonic() >= until_s:
                    raise
            await asyncio.sleep(_POLL_S)
