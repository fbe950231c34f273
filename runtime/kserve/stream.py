"""One ModelStreamInfer call: requests run at once, answers keep their order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.errors import ProtocolViolation, SpinertError
from spinert.runtime.kserve.calls import Received
from spinert.runtime.kserve.outputs import set_parameter
from spinert.runtime.kserve.parameters import FINAL_RESPONSE, wants_final_response
from spinert.runtime.messages import MAX_FRAME_ID_BYTES
from spinert.runtime.server.faults import refusal_from_exception

__all__ = ["InferStream"]

Answering = Callable[[Received], Awaitable[oip.ModelInferResponse]]
_Reply = asyncio.Task[oip.ModelStreamInferResponse]


class InferStream:
    """Lives as long as one call; every request taken is answered once.

    There is no credit in this protocol: the stream reads no more while `max_in_flight`
    requests are unanswered or their answers unsent, and the client's writes wait.
    """

    def __init__(self, answering: Answering, max_in_flight: int) -> None:
        """Answer by `answering`."""
        self._answering = answering
        self._room = asyncio.Semaphore(max_in_flight)
        self._replies: asyncio.Queue[_Reply | None] = asyncio.Queue()
        self._reader: asyncio.Task[None] | None = None
        self._refusing: SpinertError | None = None

    async def run(self, context: Any) -> None:
        """Serve until the client has sent and received everything.

        Raises:
            SpinertError: The one given to `drain`, once all requests are answered.
        """
        self._reader = asyncio.create_task(self._read(context))
        try:
            while (reply := await self._replies.get()) is not None:
                await self._send(context, reply)
        finally:
            self._reader.cancel()
            self._withdraw()
        if self._refusing is not None:
            raise self._refusing
        await self._reader

    def drain(self, error: SpinertError) -> None:
        """Read no more, and end with `error` when all that was read is answered."""
        self._refusing = error
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self, context: Any) -> None:
        try:
            # Room first: what was read must not wait for it when the server drains.
            while True:
                await self._room.acquire()
                if (received := await context.read()) is grpc.aio.EOF:
                    return
                self._replies.put_nowait(asyncio.create_task(self._reply(received)))
        finally:
            self._replies.put_nowait(None)

    async def _send(self, context: Any, reply: _Reply) -> None:
        try:
            await context.write(await reply)
        finally:
            reply.cancel()
            self._room.release()

    def _withdraw(self) -> None:
        while not self._replies.empty():
            if (reply := self._replies.get_nowait()) is not None:
                reply.cancel()

    async def _reply(
        self, received: Received | ProtocolViolation
    ) -> oip.ModelStreamInferResponse:
        """Answer one request; what goes wrong with it is part of the answer."""
        request = received.request if isinstance(received, Received) else None
        try:
            if isinstance(received, ProtocolViolation):
                raise received
            reply = oip.ModelStreamInferResponse()
            reply.infer_response.CopyFrom(await self._answering(received))
        except Exception as error:
            reply = _refused(request, error)
        if request is not None and wants_final_response(request.parameters):
            set_parameter(reply.infer_response, FINAL_RESPONSE, True)
        return reply


def _refused(
    request: oip.ModelInferRequest | None, error: Exception
) -> oip.ModelStreamInferResponse:
    """Say that one request is not served; `infer_response` only says which."""
    refusal = refusal_from_exception(error)
    reply = oip.ModelStreamInferResponse(error_message=refusal.message)
    response = reply.infer_response
    if request is not None:
        response.model_name = _repeatable(request.model_name)
        response.id = _repeatable(request.id)
    set_parameter(response, "status", refusal.status.name)
    set_parameter(response, "reason", refusal.reason)
    if refusal.retry_after_ms:
        set_parameter(response, "retry_after_ms", float(refusal.retry_after_ms))
    return reply


def _repeatable(told: str) -> str:
    """Return what a refusal may repeat: a name of any length would be sent back."""
    return told if len(told.encode()) <= MAX_FRAME_ID_BYTES else ""
