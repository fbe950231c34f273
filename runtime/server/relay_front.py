"""A front process: speaks gRPC with clients and hands every call to the executor.

Started as `python -m spinert.runtime.server.relay_front SETTINGS`. It knows no
message and no method: what arrives is passed on, and the answers passed back. It
says on standard output whether it listens, and ends when its standard input does,
and with its parent.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
import uvloop

from spinert.runtime.errors import Reason, Unavailable
from spinert.runtime.parent import end_with_parent
from spinert.runtime.server.addresses import bound_socket
from spinert.runtime.server.faults import abort
from spinert.runtime.server.logs import log_to
from spinert.runtime.server.relay_wire import Kind, Packet, RelayConnection, Status

__all__ = ["main"]

_MESSAGES_AHEAD = 2
"""Of one call, on their way to the executor; the rest waits in the network."""
_FAREWELL_S = 5.0
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def main(arguments: list[str]) -> None:
    """Serve until standard input ends."""
    settings = json.loads(arguments[0])
    log_to()
    # The executor drains before it ends: signals for the whole service are its own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent(settings["parent"], signal.SIGKILL)
    uvloop.run(_serve(settings))


async def _serve(settings: dict[str, Any]) -> None:
    options = [(name, value) for name, value in settings["options"]]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((_Relay(settings["executor"]),))
    for address in settings["listen"]:
        try:
            server.add_insecure_port(address)
        except RuntimeError:
            _say(errno=_bind_errno(address))
            return
    await server.start()
    _say(listens=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    await server.stop(_FAREWELL_S)


def _say(**word: object) -> None:
    """Tell the executor, in the one line that it reads of this process."""
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()


def _bind_errno(address: str) -> int:
    """Find out why `address` cannot be bound, as gRPC does not say; 0: unknown."""
    try:
        bound_socket(address, socket.SO_REUSEPORT).close()
    except OSError as error:
        return error.errno or 0
    return 0


class _Relay(grpc.GenericRpcHandler):
    """Takes every method for one of streams: on the wire there is no difference."""

    def __init__(self, executor: str) -> None:
        self._executor = executor

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        return grpc.stream_stream_rpc_method_handler(partial(self._relay, method))

    async def _relay(self, method: str, _: Any, context: Any) -> None:
        status = await self._relayed(method, context)
        if status is None:
            gone = "the executor has ended, or is short of memory or open files; retry"
            await abort(context, Unavailable(Reason.NOT_READY, gone))
        elif status.code:
            code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
            await context.abort(code, status.message, status.trailers)

    async def _relayed(self, method: str, context: Any) -> Status | None:
        """Pass the call on; return how it ended, None if the executor did."""
        try:
            connection = await _connected(self._executor)
        except OSError:
            return None
        room = asyncio.Semaphore(_MESSAGES_AHEAD)
        call = {
            "method": method,
            "peer": context.peer(),
            "remaining_s": context.time_remaining(),
        }
        requests = None
        try:
            await connection.send(Kind.CALL, json.dumps(call).encode())
            requests = asyncio.create_task(_pass_on(context, connection, room))
            return await _pass_back(context, connection, room)
        except OSError:
            return None
        finally:
            if requests is not None:
                requests.cancel()
                await asyncio.gather(requests, return_exceptions=True)
            connection.close()


async def _connected(path: str) -> RelayConnection:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Where the executor's backlog is full, waiting here would stop all calls.
    connection.setblocking(False)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return RelayConnection(connection)


async def _pass_on(
    context: Any, connection: RelayConnection, room: asyncio.Semaphore
) -> None:
    with suppress(OSError):  # whoever passes back sees the end
        while (message := await context.read()) is not grpc.aio.EOF:
            await room.acquire()
            await connection.send_message(message)
        await connection.send(Kind.DONE)


async def _pass_back(
    context: Any, connection: RelayConnection, room: asyncio.Semaphore
) -> Status | None:
    while (packet := await connection.receive()) is not None:
        if packet.kind is Kind.TAKEN:
            room.release()
        elif packet.kind is Kind.STATUS:
            return Status.from_json(packet.body)
        else:
            await context.write(_bytes_of(packet))
    return None


def _bytes_of(packet: Packet) -> bytes:
    # gRPC takes bytes only.
    return packet.body if isinstance(packet.body, bytes) else bytes(packet.body)


if __name__ == "__main__":
    main(sys.argv[1:])
