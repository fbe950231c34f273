"""The three methods of spinert.v1.SpineInference."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import Settings
from spinert.runtime.decide.study import StudyTally
from spinert.runtime.errors import (
    MalformedFrame,
    ProtocolViolation,
    Reason,
    SpinertError,
    StreamStateError,
    Unavailable,
)
from spinert.runtime.messages import checked_device, frame_request_from_wire
from spinert.runtime.replies import names_from_frame, server_info_from_identity
from spinert.runtime.server.faults import abort
from spinert.runtime.server.stream import (
    Received,
    Serving,
    StreamSession,
    result_with_study,
)
from spinert.runtime.server.wire import (
    ReceivedAnalyze,
    analyze_from_bytes,
    stream_request_from_bytes,
)

__all__ = ["SERVICE", "SpineInferenceService", "limits_from_settings"]

SERVICE = "spinert.v1.SpineInference"

T = TypeVar("T")


def limits_from_settings(settings: Settings) -> pb.Limits:
    """Say what a client may send; no more credit than the engine would admit."""
    credit = min(
        settings.server.max_frames_in_flight,
        settings.engine.max_frames_per_device,
        settings.engine.max_frames,
    )
    return pb.Limits(
        max_frames_in_flight=credit,
        max_message_bytes=settings.server.max_message_mib * 2**20,
        max_rows=settings.decode.max_edge_px,
        max_columns=settings.decode.max_edge_px,
        min_rows=settings.decode.min_edge_px,
        min_columns=settings.decode.min_edge_px,
    )


class SpineInferenceService:
    """Answers calls; refuses them all until `start` and after `drain`."""

    def __init__(self, limits: pb.Limits, *, open_ms: int) -> None:
        """Refuse every call with NOT_READY.

        Args:
            limits: What clients are told and held to.
            open_ms: How long a stream may take to send its Open.
        """
        self._limits = limits
        self._open_s = open_ms / 1000
        self._serving: Serving | None = None
        self._started_s = 0.0
        self._refusing: SpinertError | None = None
        self._sessions: set[StreamSession] = set()
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self, serving: Serving) -> None:
        """Answer calls from now on."""
        self._serving = serving
        self._started_s = serving.clock()

    def drain(self) -> None:
        """Refuse new frames with SHUTTING_DOWN; those in flight are finished."""
        self._refusing = Unavailable(
            Reason.SHUTTING_DOWN, "the server is shutting down; try again later"
        )
        for session in tuple(self._sessions):
            session.drain(self._refusing)

    async def idle(self) -> None:
        """Wait until no call is being served.

        grpc.aio's Server.stop can return before handlers have ended (grpc#37239).
        """
        await self._idle.wait()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the methods, with deserialisers that spare a copy of the pixels."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Analyze": grpc.unary_unary_rpc_method_handler(
                    self._called(self._analyze),
                    request_deserializer=analyze_from_bytes,
                    response_serializer=pb.AnalyzeReply.SerializeToString,
                ),
                "Stream": grpc.stream_stream_rpc_method_handler(
                    self._called(self._stream),
                    request_deserializer=stream_request_from_bytes,
                    response_serializer=pb.StreamReply.SerializeToString,
                ),
                "GetServerInfo": grpc.unary_unary_rpc_method_handler(
                    self._called(self._get_server_info),
                    request_deserializer=pb.GetServerInfoRequest.FromString,
                    response_serializer=pb.ServerInfo.SerializeToString,
                ),
            },
        )

    def _called(self, method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Wrap `method`: what it raises becomes a status, and it is counted."""

        async def answer(request: Any, context: Any) -> Any:
            self._calls += 1
            self._idle.clear()
            try:
                return await method(request, context)
            # Cancellation is no Exception and passes: swallowing it would leak
            # memory for every cancelled call (grpc#43360).
            except Exception as error:
                await abort(context, error)
            finally:
                self._calls -= 1
                if not self._calls:
                    self._idle.set()

        return answer

    def _ready(self) -> Serving:
        if self._refusing is not None:
            raise self._refusing
        if self._serving is None:
            raise Unavailable(
                Reason.NOT_READY, "the server is starting; wait until it is ready"
            )
        return self._serving

    # ------------------------------------------------------------------ methods

    async def _get_server_info(self, _: pb.GetServerInfoRequest, __: Any) -> Any:
        serving = self._ready()
        return server_info_from_identity(
            serving.identity(), self._limits, serving.clock() - self._started_s
        )

    async def _analyze(
        self, request: ReceivedAnalyze | ProtocolViolation, context: Any
    ) -> pb.AnalyzeReply:
        serving = self._ready()
        if isinstance(request, ProtocolViolation):
            raise request
        received = request.received
        if received is None:
            raise MalformedFrame(Reason.EMPTY_FRAME, "the request holds no frame")
        arrived_s = serving.clock()
        remaining_s = context.time_remaining()
        wanted = frame_request_from_wire(
            received.frame,
            received.payload,
            device=_sender(request.device, context),
            arrived_s=arrived_s,
            deadline_s=None if remaining_s is None else arrived_s + remaining_s,
        )
        # Cancelling this coroutine cancels the engine's future.
        answer = await asyncio.wrap_future(serving.engine.submit(wanted))
        result = result_with_study(
            answer,
            serving.identity(),
            names_from_frame(received.frame),
            StudyTally(),
        )
        return pb.AnalyzeReply(result=result)

    async def _stream(self, _: AsyncIterator[Received], context: Any) -> None:
        serving = self._ready()
        opening = _opening(await self._first(context))
        limit = self._limits.max_frames_in_flight
        session = StreamSession(
            serving,
            device=_sender(opening.device, context),
            in_order=opening.order != pb.ORDER_AS_COMPLETED,
            max_in_flight=limit,
        )
        async with self._registered(session):
            opened = pb.Opened(limits=self._limits)
            await context.write(pb.StreamReply(opened=opened))
            await context.write(pb.StreamReply(credit=pb.Credit(frames=limit)))
            await session.run(context)

    async def _first(self, context: Any) -> Any:
        try:
            async with asyncio.timeout(self._open_s):
                return await context.read()
        except TimeoutError:
            raise StreamStateError(
                Reason.STREAM_NOT_OPEN,
                f"no Open within {self._open_s:g} s: send it first, then frames",
            ) from None

    @asynccontextmanager
    async def _registered(self, session: StreamSession) -> AsyncIterator[None]:
        self._sessions.add(session)
        if self._refusing is not None:
            session.drain(self._refusing)
        try:
            yield
        finally:
            self._sessions.discard(session)


def _sender(device: str, context: Any) -> str:
    """Return whose quota a frame counts for: a device without a name is its peer."""
    return checked_device(device) or str(context.peer())


def _opening(first: Any) -> pb.Open:
    """Return the Open that a stream must begin with."""
    if isinstance(first, ProtocolViolation):
        raise first
    if not isinstance(first, pb.StreamRequest) or not first.HasField("open"):
        raise StreamStateError(
            Reason.STREAM_NOT_OPEN, "the first message of a stream must be Open"
        )
    if first.open.resume_token:
        raise StreamStateError(
            Reason.RESUME_UNAVAILABLE,
            "this server cannot resume streams; open one without a resume_token",
        )
    if first.open.order not in pb.Order.values():
        raise ProtocolViolation(
            Reason.MALFORMED_MESSAGE,
            f"order: this server does not know {first.open.order}",
        )
    return first.open
