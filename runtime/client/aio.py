"""The asyncio client; spinert.runtime.client.sync drives the same code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable
from types import TracebackType

import grpc

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client.calls import FrameAnswer, StreamCall
from spinert.runtime.client.errors import (
    RequestFailed,
    failure_from_rpc_error,
    message_too_large,
)
from spinert.runtime.client.frames import Frame
from spinert.runtime.client.options import client_options
from spinert.runtime.client.wire import bytes_from_outgoing, outgoing_analyze

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
    ) -> None:
        """Describe a client; the connection is made on entering.

        Args:
            address: HOST:PORT.
            device: Which device sends: the unit of fairness and quotas, at most
                64 bytes, no patient data.
            credentials: For TLS; None speaks plain text, for loopback.
            max_message_mib: Largest message; not above the server's.
            keepalive_ms: Silence after which the server is asked whether it is
                still there. Servers cut off clients that ask every 5 s.
        """
        self._address = address
        self._device = device
        self._credentials = credentials
        self._max_message_bytes = max_message_mib * 2**20
        self._options = client_options(
            max_message_mib=max_message_mib, keepalive_ms=keepalive_ms
        )

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
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection; calls in flight end."""
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
        message = outgoing_analyze(frame, frame.options.frame_id, self._device)
        if message.size_bytes > self._max_message_bytes:
            raise message_too_large(message.size_bytes, self._max_message_bytes)
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
    ) -> AsyncGenerator[FrameAnswer, None]:
        """Send frames over one stream and yield one answer for each.

        Args:
            frames: Asked for the next frame only when it may be sent.
            in_order: Answers come in the order of the frames; False: as ready.
            max_in_flight: Frames sent whose answer was not taken; None: as many
                as the server allows.

        Yields:
            A Result, or a FrameRefusal where that frame is not served.

        Raises:
            RequestFailed: The stream itself ended; frames without an answer were
                not served.
        """
        order = pb.ORDER_IN_ORDER if in_order else pb.ORDER_AS_COMPLETED
        call = StreamCall(
            self._stream(),
            max_in_flight=max_in_flight,
            max_message_bytes=self._max_message_bytes,
        )
        opening = pb.Open(device=self._device, order=order)
        answers = call.answers(opening, aiter(frames))
        try:
            async for answer in answers:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise failure_from_rpc_error(error) from error
        finally:
            await answers.aclose()

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
