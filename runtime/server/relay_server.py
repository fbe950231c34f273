"""The executor with several front processes before it, as one gRPC server.

Receiving a 15 MB frame takes more of a processor than anything this side does with
it, so the fronts do that: each listens on the same port (SO_REUSEPORT; the kernel
spreads connections) and passes calls on whole. Streams, quotas, regions, health and
every protocol stay here, in one place, as with a single process.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from spinert.runtime.errors import SetupError
from spinert.runtime.server.addresses import bound_socket
from spinert.runtime.server.logs import event
from spinert.runtime.server.relay_calls import answer_call
from spinert.runtime.server.relay_directory import (
    new_directory,
    remove_abandoned,
    socket_in,
)
from spinert.runtime.server.relay_process import FrontSettings, listening_front
from spinert.runtime.server.relay_wire import RelayConnection

__all__ = ["RelayServer"]

_LOG = logging.getLogger(__name__)
_FREE_PORTS_TRIED = 16
_RETRY_S = (0.1, 0.5, 2.0, 5.0)
"""Pauses before another front is started; the last repeats."""
_NO_ROOM_S = 0.1
"""Pause before calls are accepted again where files cannot be opened."""
_BACKLOG = 1024


class RelayServer:
    """Does for `Front` what grpc.aio.Server does; handlers must be coroutines."""

    def __init__(self, fronts: int, options: Sequence[tuple[str, int]]) -> None:
        """Prepare `fronts` processes with these channel arguments."""
        self._count = fronts
        self._options = [*dict(options, **{"grpc.so_reuseport": 1}).items()]
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._reserved: list[socket.socket] = []
        self._listen: list[str] = []
        self._directory = Path()
        self._listener: socket.socket | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._keepers: list[asyncio.Task[None]] = []

    def add_generic_rpc_handlers(
        self, handlers: Sequence[grpc.GenericRpcHandler]
    ) -> None:
        """Answer the calls of `handlers`."""
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """Do nothing: what is registered so is also there as a generic handler."""

    def add_insecure_port(self, address: str) -> int:
        """Reserve HOST:PORT for the fronts, HOST a number; return the port.

        Raises:
            RuntimeError: It cannot be bound.
        """
        host, _, port = address.rpartition(":")
        # A free port that was found may be taken before it is bound for good.
        for _ in range(1 if port != "0" else _FREE_PORTS_TRIED):
            with suppress(OSError):
                reserved = _reserved(address)
                self._reserved.append(reserved)
                number = int(reserved.getsockname()[1])
                self._listen.append(f"{host}:{number}")
                return number
        self._give_back()
        raise RuntimeError

    async def start(self) -> None:
        """Start the fronts and wait until all of them listen.

        Raises:
            SetupError: One does not; the message says why.
        """
        remove_abandoned()
        self._directory = new_directory()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(socket_in(self._directory)))
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listener.fileno(), self._accept)
        ready = [loop.create_future() for _ in range(self._count)]
        self._keepers = [asyncio.create_task(self._keep(first)) for first in ready]
        try:
            await asyncio.gather(*ready)
        except BaseException:
            await self.stop(None)
            raise

    async def stop(self, grace: float | None) -> None:
        """Cancel the calls and end the fronts; `grace` is not used: they are idle."""
        for call in tuple(self._calls):
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
            shutil.rmtree(self._directory, ignore_errors=True)
        self._give_back()

    def _give_back(self) -> None:
        """Close the sockets that keep the addresses from others."""
        while self._reserved:
            self._reserved.pop().close()

    # -------------------------------------------------------------------- calls

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:  # none left
                return
            except OSError:  # no room for another: trying at once would only spin
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener.fileno())
                loop.call_later(_NO_ROOM_S, self._accept_again)
                return
            task = asyncio.create_task(self._answer(RelayConnection(connection)))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    def _accept_again(self) -> None:
        if (listener := self._listener) is not None:
            loop = asyncio.get_running_loop()
            loop.add_reader(listener.fileno(), self._accept)

    async def _answer(self, connection: RelayConnection) -> None:
        try:
            with suppress(OSError):  # no whole call has come; the front sees the end
                await answer_call(connection, self._handlers)
        finally:
            connection.close()

    # ------------------------------------------------------------------- fronts

    async def _keep(self, ready: asyncio.Future[None]) -> None:
        """Keep one front running: its end costs the calls on it, nobody else's.

        `ready` is told how the first start of it went; one that failed is not
        repeated.
        """
        settings = FrontSettings(
            listen=self._listen,
            executor=str(socket_in(self._directory)),
            options=self._options,
        )
        attempt = 0
        while True:
            try:
                async with listening_front(settings) as front:
                    attempt = 0
                    if not ready.done():
                        ready.set_result(None)
                    code = await front.wait()
                event(_LOG, logging.ERROR, "front_ended", code=code)
            except SetupError as error:
                if not ready.done():
                    ready.set_exception(error)
                    return
                event(_LOG, logging.ERROR, "front_not_started", why=error.message)
            await asyncio.sleep(_pause_s(attempt))
            attempt += 1


def _pause_s(attempt: int) -> float:
    return _RETRY_S[min(attempt, len(_RETRY_S) - 1)]


def _reserved(address: str) -> socket.socket:
    """Bind a port that the fronts can share, and nobody else has."""
    host = address.rpartition(":")[0]
    # Without SO_REUSEPORT first: another server's port must not be shared.
    with bound_socket(address, socket.SO_REUSEADDR) as probe:
        number = int(probe.getsockname()[1])
    return bound_socket(f"{host}:{number}", socket.SO_REUSEPORT)
