"""The methods of spinert.v1.SpineInference."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import Settings
from spinert.runtime.decide.study import StudyTally
from spinert.runtime.engine.refusal import shutting_down
from spinert.runtime.errors import MalformedFrame, Reason, StreamStateError
from spinert.runtime.messages import checked_device, frame_request_from_wire
from spinert.runtime.replies import names_from_frame, server_info_from_identity
from spinert.runtime.server.availability import Availability
from spinert.runtime.server.calls import Calls
from spinert.runtime.server.peer_regions import PeerRegions
from spinert.runtime.server.regions import Regions
from spinert.runtime.server.requests import deserializer_of
from spinert.runtime.server.shared_frames import payload_from_received
from spinert.runtime.server.stream import Serving
from spinert.runtime.server.stream_host import StreamHost
from spinert.runtime.server.stream_replies import result_with_study
from spinert.runtime.server.stream_terms import Received, opening_from_first
from spinert.runtime.server.wire import (
    ReceivedAnalyze,
    analyze_from_bytes,
    stream_request_from_bytes,
)

__all__ = ["SERVICE", "SpineInferenceService", "limits_from_settings"]

SERVICE = "spinert.v1.SpineInference"


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

    def __init__(
        self, limits: pb.Limits, regions: Regions, streams: StreamHost, *, open_ms: int
    ) -> None:
        """Refuse every call with NOT_READY.

        Args:
            limits: What clients are told and held to.
            regions: Shared memory that frames may lie in.
            streams: Those of this server.
            open_ms: How long a stream may take to send its Open.
        """
        self._limits = limits
        self._regions = regions
        self.streams = streams
        self._open_s = open_ms / 1000
        self._available: Availability[Serving] = Availability()
        self._started_s = 0.0
        self._calls = Calls()

    def start(self, serving: Serving) -> None:
        """Answer calls from now on."""
        self._available.start(serving)
        self._started_s = serving.clock()

    def drain(self) -> None:
        """Refuse new frames with SHUTTING_DOWN; those in flight are finished."""
        self._available.drain()
        self.streams.drain(shutting_down())

    async def idle(self) -> None:
        """Wait until no call is being served."""
        await self._calls.idle()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the methods, with deserialisers that spare a copy of the pixels."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Analyze": grpc.unary_unary_rpc_method_handler(
                    self._calls.wrapped(self._analyze),
                    request_deserializer=analyze_from_bytes,
                    response_serializer=pb.AnalyzeReply.SerializeToString,
                ),
                "Stream": grpc.stream_stream_rpc_method_handler(
                    self._calls.wrapped(self._stream),
                    request_deserializer=stream_request_from_bytes,
                    response_serializer=pb.StreamReply.SerializeToString,
                ),
                "GetServerInfo": grpc.unary_unary_rpc_method_handler(
                    self._calls.wrapped(self._get_server_info),
                    request_deserializer=deserializer_of(pb.GetServerInfoRequest),
                    response_serializer=pb.ServerInfo.SerializeToString,
                ),
                "RegisterRegion": grpc.unary_unary_rpc_method_handler(
                    self._calls.wrapped(self._register_region),
                    request_deserializer=deserializer_of(pb.RegisterRegionRequest),
                    response_serializer=pb.RegisterRegionReply.SerializeToString,
                ),
                "UnregisterRegion": grpc.unary_unary_rpc_method_handler(
                    self._calls.wrapped(self._unregister_region),
                    request_deserializer=deserializer_of(pb.UnregisterRegionRequest),
                    response_serializer=pb.UnregisterRegionReply.SerializeToString,
                ),
            },
        )

    # ------------------------------------------------------------------ methods

    async def _get_server_info(self, _: pb.GetServerInfoRequest, __: Any) -> Any:
        serving = self._available.ready()
        return server_info_from_identity(
            serving.identity(), self._limits, serving.clock() - self._started_s
        )

    async def _register_region(
        self, request: pb.RegisterRegionRequest, context: Any
    ) -> pb.RegisterRegionReply:
        self._shared(context).local().register(
            request.region, request.key, request.offset, request.length
        )
        return pb.RegisterRegionReply()

    async def _unregister_region(
        self, request: pb.UnregisterRegionRequest, context: Any
    ) -> pb.UnregisterRegionReply:
        self._shared(context).local().unregister(request.region)
        return pb.UnregisterRegionReply()

    def _shared(self, context: Any) -> PeerRegions:
        return PeerRegions(self._regions, str(context.peer()))

    async def _analyze(self, request: ReceivedAnalyze, context: Any) -> pb.AnalyzeReply:
        serving = self._available.ready()
        received = request.received
        if received is None:
            raise MalformedFrame(Reason.EMPTY_FRAME, "the request holds no frame")
        arrived_s = serving.clock()
        remaining_s = context.time_remaining()
        wanted = frame_request_from_wire(
            received.frame,
            payload_from_received(self._shared(context), received),
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
        serving = self._available.ready()
        opening = opening_from_first(await self._first(context))
        payload_of = partial(payload_from_received, self._shared(context))
        await self.streams.serve(serving, opening, context, payload_of)

    async def _first(self, context: Any) -> Any:
        try:
            async with asyncio.timeout(self._open_s):
                return await context.read()
        except TimeoutError:
            raise StreamStateError(
                Reason.STREAM_NOT_OPEN,
                f"no Open within {self._open_s:g} s: send it first, then frames",
            ) from None


def _sender(device: str, context: Any) -> str:
    """Return whose quota a frame counts for: a device without a name is its peer."""
    return checked_device(device) or str(context.peer())
