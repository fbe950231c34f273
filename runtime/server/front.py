"""The listening server: SpineInference, health and, where asked for, reflection."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import ServerSettings
from spinert.runtime.kserve.inference import Inference
from spinert.runtime.kserve.repository import Repository
from spinert.runtime.kserve.service import KSERVE_SERVICE, KserveService
from spinert.runtime.server.binding import bind
from spinert.runtime.server.options import Patience, server_options
from spinert.runtime.server.region_rules import limits_from_server_settings
from spinert.runtime.server.regions import Regions
from spinert.runtime.server.relay_server import RelayServer
from spinert.runtime.server.service import SERVICE, SpineInferenceService
from spinert.runtime.server.stream import Serving
from spinert.runtime.server.stream_host import StreamHost

__all__ = ["Front"]

_EVERYTHING = ""


class Front:
    """Listens from `__aenter__` on, and says NOT_SERVING until `serve`.

    >>> async with Front(settings, limits) as front:  # doctest: +SKIP
    ...     await front.serve(serving)
    """

    def __init__(
        self,
        settings: ServerSettings,
        limits: pb.Limits,
        patience: Patience | None = None,
    ) -> None:
        """Prepare; nothing listens yet."""
        self._settings = settings
        self._limits = limits
        self._patience = patience or Patience()
        region_limits = limits_from_server_settings(settings, os.geteuid())
        self.regions = Regions(region_limits)
        """Shared memory that frames may lie in; common to all protocols."""
        streams = StreamHost(
            limits,
            resume_window_s=settings.resume_window_s,
            resume_max_streams=settings.resume_max_streams,
        )
        self.service = SpineInferenceService(
            limits, self.regions, streams, open_ms=self._patience.open_ms
        )
        self._kserve: KserveService | None = None
        self._services: tuple[str, ...] = (SERVICE,)
        self.address = ""
        """HOST:PORT or unix:PATH as bound; empty before."""

    def offer(self, repository: Repository) -> None:
        """Speak the Open Inference Protocol, too; call it before listening."""
        self._kserve = KserveService(
            repository, self.regions, max_in_flight=self._limits.max_frames_in_flight
        )
        self._services = (SERVICE, KSERVE_SERVICE)

    async def __aenter__(self) -> Front:
        """Bind and listen.

        Raises:
            SetupError: The address is taken.
            ConfigError: The address is none of this machine.
        """
        options = server_options(
            max_message_mib=self._settings.max_message_mib,
            max_connections=self._settings.max_connections,
            patience=self._patience,
        )
        self._server: grpc.aio.Server | RelayServer = (
            RelayServer(self._settings.fronts, options)
            if self._settings.fronts > 1
            else grpc.aio.server(options=options)
        )
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers((self.service.handler(),))
        if self._kserve is not None:
            self._server.add_generic_rpc_handlers((self._kserve.handler(),))
        if self._settings.reflection:
            _reflect(self._server, self._services)
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self.address = bind(self._server, self._settings)
        await self._server.start()
        return self

    async def serve(self, serving: Serving, inference: Inference | None = None) -> None:
        """Answer frames and say SERVING; `inference` answers what was offered."""
        self.service.start(serving)
        if self._kserve is not None and inference is not None:
            self._kserve.start(inference)
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Say NOT_SERVING and refuse new frames; those in flight go on."""
        await self._health.enter_graceful_shutdown()
        self.service.drain()
        if self._kserve is not None:
            self._kserve.drain()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give clients time to read what is answered, cut the rest, stop listening."""
        await self.drain()
        try:
            async with asyncio.timeout(self._patience.farewell_ms / 1000):
                await self._idle()
        except TimeoutError:
            # A client that reads no replies must not keep the server alive.
            await self._server.stop(0)
        await self._server.stop(0)
        await self._idle()
        self.regions.close()

    async def _idle(self) -> None:
        await self.service.idle()
        if self._kserve is not None:
            await self._kserve.idle()

    async def _set_health(self, status: int) -> None:
        for name in (_EVERYTHING, *self._services):
            await self._health.set(name, status)


def _reflect(server: grpc.aio.Server, services: tuple[str, ...]) -> None:
    from grpc_reflection.v1alpha import reflection

    health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    names = (*services, health, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
