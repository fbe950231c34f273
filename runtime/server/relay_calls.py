"""The executor's side of one relayed call: what a handler sees as its context."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc

from spinert.runtime.server.logs import event
from spinert.runtime.server.relay_wire import Kind, RelayConnection, Status

__all__ = ["answer_call"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Details:
    """What a generic handler asks of a call."""

    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()


class _AbortedError(Exception):
    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status


class _Context:
    """What our handlers use of grpc.aio.ServicerContext, over a connection."""

    def __init__(
        self, connection: RelayConnection, values: dict[str, Any], handler: Any
    ) -> None:
        self._connection = connection
        self._handler = handler
        self._peer = str(values["peer"])
        remaining_s = values.get("remaining_s")
        self._until_s = None if remaining_s is None else time.monotonic() + remaining_s
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()

    def peer(self) -> str:
        return self._peer

    def time_remaining(self) -> float | None:
        return None if self._until_s is None else self._until_s - time.monotonic()

    async def read(self) -> Any:
        message = await self._inbox.get()
        if message is grpc.aio.EOF:
            self._inbox.put_nowait(message)
            return message
        await self._told(Kind.TAKEN)
        deserialize = self._handler.request_deserializer
        return deserialize(message) if deserialize else message

    async def write(self, message: Any) -> None:
        serialize = self._handler.response_serializer
        try:
            await self._connection.send_message(
                serialize(message) if serialize else message
            )
        except OSError:
            await self._be_cancelled()

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: Iterable[tuple[str, str | bytes]] = (),
    ) -> NoReturn:
        raise _AbortedError(
            Status(
                code=code.value[0], message=details, trailers=tuple(trailing_metadata)
            )
        )

    async def receive_all(self) -> None:
        """Take what comes until the front goes away."""
        while (packet := await self._connection.receive()) is not None:
            if packet.kind in (Kind.MESSAGE, Kind.MEMORY):
                self._inbox.put_nowait(packet.body)
            elif packet.kind is Kind.DONE:
                self._inbox.put_nowait(grpc.aio.EOF)

    async def _told(self, kind: Kind) -> None:
        try:
            await self._connection.send(kind)
        except OSError:
            await self._be_cancelled()

    async def _be_cancelled(self) -> None:
        """Wait for the cancellation that follows when a client has gone."""
        await asyncio.Event().wait()


async def answer_call(
    connection: RelayConnection, handlers: Sequence[grpc.GenericRpcHandler]
) -> None:
    """Answer the call of `connection`; a front that goes away withdraws it."""
    first = await connection.receive()
    if first is None or first.kind is not Kind.CALL:
        return
    values = first.values()
    handler = _found(handlers, _Details(str(values["method"])))
    context = _Context(connection, values, handler)
    work = asyncio.create_task(_answered(connection, handler, context))
    receiving = asyncio.create_task(context.receive_all())
    try:
        await asyncio.wait({work, receiving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (work, receiving):
            task.cancel()
        await asyncio.gather(work, receiving, return_exceptions=True)


async def _answered(
    connection: RelayConnection, handler: Any, context: _Context
) -> None:
    # In the step that ends the handler, where there is room: a server that waits for
    # its last handler cancels calls in the next.
    status = await _status_of(handler, context)
    with suppress(OSError):
        await connection.send(Kind.STATUS, status.to_json())


def _found(handlers: Sequence[grpc.GenericRpcHandler], details: _Details) -> Any:
    for generic in handlers:
        if (handler := generic.service(details)) is not None:
            return handler
    return None


async def _status_of(handler: Any, context: _Context) -> Status:
    if handler is None:
        code = grpc.StatusCode.UNIMPLEMENTED.value[0]
        return Status(code=code, message="Method not found!")
    try:
        await _run(handler, context)
    except _AbortedError as aborted:
        return aborted.status
    except Exception as error:
        # What our services raise is mapped before; this is a bug.
        event(_LOG, logging.ERROR, "internal_error", error=error, reference="relay")
        code = grpc.StatusCode.INTERNAL.value[0]
        return Status(code=code, message="internal error")
    return Status()


async def _run(handler: Any, context: _Context) -> None:
    """Call a handler that is a coroutine, as all of ours are."""
    if handler.request_streaming:
        await handler.stream_stream(None, context)
        return
    request = await context.read()
    if request is grpc.aio.EOF:
        return
    answer: Callable[..., Any] = handler.unary_unary or handler.unary_stream
    reply = await answer(request, context)
    if not handler.response_streaming:
        await context.write(reply)
