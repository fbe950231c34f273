"""The listening server: SpineInference, health and, where asked for, reflection."""

from __future__ import annotations

import asyncio
import errno
import socket
from types import TracebackType

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import ServerSettings
from spinert.runtime.errors import ConfigError, Reason, SetupError
from spinert.runtime.server.options import Patience, server_options
from spinert.runtime.server.service import SERVICE, SpineInferenceService
from spinert.runtime.server.stream import Serving

__all__ = ["Front"]

_NAMES = ("", SERVICE)


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
        self._patience = patience or Patience()
        self.service = SpineInferenceService(limits, open_ms=self._patience.open_ms)
        self.address = ""
        """HOST:PORT as bound; empty before."""

    async def __aenter__(self) -> Front:
        """Bind and listen.

        Raises:
            SetupError: The address is taken.
            ConfigError: The address is none of this machine.
        """
        options = server_options(
            max_message_mib=self._settings.max_message_mib, patience=self._patience
        )
        self._server = grpc.aio.server(options=options)
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers((self.service.handler(),))
        if self._settings.reflection:
            _reflect(self._server)
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self.address = _bind(self._server, self._settings.listen)
        await self._server.start()
        return self

    async def serve(self, serving: Serving) -> None:
        """Answer frames and say SERVING."""
        self.service.start(serving)
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Say NOT_SERVING and refuse new frames; those in flight go on."""
        await self._health.enter_graceful_shutdown()
        self.service.drain()

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
                await self.service.idle()
        except TimeoutError:
            # A client that reads no replies must not keep the server alive.
            await self._server.stop(0)
        await self._server.stop(0)
        await self.service.idle()

    async def _set_health(self, status: int) -> None:
        for name in _NAMES:
            await self._health.set(name, status)


def _reflect(server: grpc.aio.Server) -> None:
    from grpc_reflection.v1alpha import reflection

    names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
    reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)


def _bind(server: grpc.aio.Server, listen: str) -> str:
    host = listen.rpartition(":")[0]
    try:
        return f"{host}:{server.add_insecure_port(listen)}"
    except RuntimeError:
        raise _binding_error(listen) from None


def _binding_error(listen: str) -> SetupError:
    """Find out why `listen` cannot be bound; gRPC only says that it failed."""
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((host.strip("[]"), int(port)))
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) not in (errno.EADDRINUSE, errno.EACCES):
            return ConfigError(
                Reason.CONFIG_INVALID,
                f"server.listen: {listen} is not an address of this machine",
            )
    return SetupError(
        Reason.ADDRESS_IN_USE,
        f"cannot listen on {listen}: stop what uses it, or choose another port",
    )
