"""The methods of inference.GRPCInferenceService."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc

from spinert import __version__
from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.engine.refusal import shutting_down
from spinert.runtime.errors import SpinertError
from spinert.runtime.kserve.calls import Call, Received
from spinert.runtime.kserve.inference import Inference
from spinert.runtime.kserve.messages import received_from_bytes
from spinert.runtime.kserve.models import config_from_model, metadata_from_model
from spinert.runtime.kserve.regions import (
    register_region,
    status_of_regions,
    unregister_region,
)
from spinert.runtime.kserve.repository import Repository
from spinert.runtime.kserve.stream import InferStream
from spinert.runtime.server.availability import Availability
from spinert.runtime.server.calls import Calls
from spinert.runtime.server.peer_regions import PeerRegions
from spinert.runtime.server.regions import Regions
from spinert.runtime.server.requests import deserializer_of

__all__ = ["KSERVE_SERVICE", "KserveService"]

KSERVE_SERVICE = "inference.GRPCInferenceService"

_METADATA = oip.ServerMetadataResponse(
    name="spinert",
    version=__version__,
    extensions=[
        "binary_tensor_data",
        "model_configuration",
        "model_repository",
        "parameters",
        "schedule_policy",
        "statistics",
        "system_shared_memory",
    ],
)


class KserveService:
    """Answers calls; says that it is not ready until `start` and after `drain`."""

    def __init__(
        self, repository: Repository, regions: Regions, *, max_in_flight: int
    ) -> None:
        """Describe models, but answer no requests yet.

        Args:
            repository: The models.
            regions: Shared memory that tensors may lie in.
            max_in_flight: Requests of one stream.
        """
        self._repository = repository
        self._regions = regions
        self._max_in_flight = max_in_flight
        self._available: Availability[Inference] = Availability()
        self._streams: set[InferStream] = set()
        self._calls = Calls()

    def start(self, inference: Inference) -> None:
        """Answer requests from now on."""
        self._available.start(inference)

    def drain(self) -> None:
        """Refuse new requests with SHUTTING_DOWN; those in flight are finished."""
        self._available.drain()
        for stream in tuple(self._streams):
            stream.drain(shutting_down())

    async def idle(self) -> None:
        """Wait until no call is being served."""
        await self._calls.idle()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the methods."""
        unary: Mapping[str, tuple[Callable[[Any, Any], Any], Any]] = {
            "ServerLive": (
                _always(oip.ServerLiveResponse(live=True)),
                oip.ServerLiveRequest,
            ),
            "ServerReady": (self._server_ready, oip.ServerReadyRequest),
            "ServerMetadata": (_always(_METADATA), oip.ServerMetadataRequest),
            "ModelReady": (self._model_ready, oip.ModelReadyRequest),
            "ModelMetadata": (self._model_metadata, oip.ModelMetadataRequest),
            "ModelConfig": (self._model_config, oip.ModelConfigRequest),
            "ModelStatistics": (self._model_statistics, oip.ModelStatisticsRequest),
            "RepositoryIndex": (self._index, oip.RepositoryIndexRequest),
            "RepositoryModelLoad": (self._load, oip.RepositoryModelLoadRequest),
            "RepositoryModelUnload": (self._unload, oip.RepositoryModelUnloadRequest),
            "SystemSharedMemoryStatus": (
                self._on_memory(status_of_regions),
                oip.SystemSharedMemoryStatusRequest,
            ),
            "SystemSharedMemoryRegister": (
                self._on_memory(register_region),
                oip.SystemSharedMemoryRegisterRequest,
            ),
            "SystemSharedMemoryUnregister": (
                self._on_memory(unregister_region),
                oip.SystemSharedMemoryUnregisterRequest,
            ),
            "CudaSharedMemoryStatus": (
                _always(oip.CudaSharedMemoryStatusResponse()),
                oip.CudaSharedMemoryStatusRequest,
            ),
            "CudaSharedMemoryUnregister": (
                _always(oip.CudaSharedMemoryUnregisterResponse()),
                oip.CudaSharedMemoryUnregisterRequest,
            ),
        }
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                self._calls.wrapped(method),
                request_deserializer=deserializer_of(request),
                response_serializer=_serialized,
            )
            for name, (method, request) in unary.items()
        }
        methods["ModelInfer"] = grpc.unary_unary_rpc_method_handler(
            self._calls.wrapped(self._infer),
            request_deserializer=received_from_bytes,
            response_serializer=_serialized,
        )
        methods["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._calls.wrapped(self._stream),
            request_deserializer=received_from_bytes,
            response_serializer=_serialized,
        )
        return grpc.method_handlers_generic_handler(KSERVE_SERVICE, methods)

    # ---------------------------------------------------------------- inference

    async def _infer(self, received: Received, context: Any) -> oip.ModelInferResponse:
        return await self._answer(received, context, context.time_remaining())

    async def _answer(
        self, received: Received, context: Any, remaining_s: float | None
    ) -> oip.ModelInferResponse:
        inference = self._available.ready()
        request = received.request
        model = self._repository.usable(request.model_name, request.model_version)
        call = Call(peer=str(context.peer()), remaining_s=remaining_s)
        return await inference.answer(received, model, self._memory(context), call)

    async def _stream(self, _: Any, context: Any) -> None:
        self._available.ready()

        async def answering(received: Received) -> oip.ModelInferResponse:
            # A deadline of a stream says how long it lives, not what a request may
            # take.
            return await self._answer(received, context, None)

        stream = InferStream(answering, self._max_in_flight)
        self._streams.add(stream)
        try:
            await stream.run(context)
        finally:
            self._streams.discard(stream)

    # ------------------------------------------------------------- descriptions

    async def _server_ready(self, _: Any, __: Any) -> oip.ServerReadyResponse:
        return oip.ServerReadyResponse(ready=self._available.is_serving)

    async def _model_ready(
        self, request: oip.ModelReadyRequest, _: Any
    ) -> oip.ModelReadyResponse:
        try:
            self._repository.usable(request.name, request.version)
        except SpinertError:
            # Whoever asks this wants to know, not to be told off.
            return oip.ModelReadyResponse(ready=False)
        return oip.ModelReadyResponse(ready=self._available.is_serving)

    async def _model_metadata(
        self, request: oip.ModelMetadataRequest, _: Any
    ) -> oip.ModelMetadataResponse:
        return metadata_from_model(self._repository.find(request.name, request.version))

    async def _model_config(
        self, request: oip.ModelConfigRequest, _: Any
    ) -> oip.ModelConfigResponse:
        return config_from_model(self._repository.find(request.name, request.version))

    async def _model_statistics(
        self, request: oip.ModelStatisticsRequest, _: Any
    ) -> oip.ModelStatisticsResponse:
        tallies = self._available.ready().tallies
        names = self._repository.names
        if request.name:
            names = (self._repository.find(request.name, request.version).name,)
        return oip.ModelStatisticsResponse(
            model_stats=[tallies[name].wire() for name in names]
        )

    # --------------------------------------------------- repository and memory

    async def _index(
        self, request: oip.RepositoryIndexRequest, _: Any
    ) -> oip.RepositoryIndexResponse:
        return self._repository.index(request, is_serving=self._available.is_serving)

    async def _load(
        self, request: oip.RepositoryModelLoadRequest, _: Any
    ) -> oip.RepositoryModelLoadResponse:
        self._repository.load(request)
        return oip.RepositoryModelLoadResponse()

    async def _unload(
        self, request: oip.RepositoryModelUnloadRequest, _: Any
    ) -> oip.RepositoryModelUnloadResponse:
        self._repository.unload(request)
        return oip.RepositoryModelUnloadResponse()

    def _memory(self, context: Any) -> PeerRegions:
        return PeerRegions(self._regions, str(context.peer()))

    def _on_memory(
        self, method: Callable[[Regions, Any], Any]
    ) -> Callable[[Any, Any], Any]:
        async def answer(request: Any, context: Any) -> Any:
            return method(self._memory(context).local(), request)

        return answer


def _always(reply: Any) -> Callable[[Any, Any], Any]:
    async def answer(_: Any, __: Any) -> Any:
        return reply

    return answer


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
