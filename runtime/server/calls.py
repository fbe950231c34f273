"""Calls being answered: what they raise becomes a status, and they are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from spinert.runtime.errors import ProtocolViolation
from spinert.runtime.server.faults import abort

__all__ = ["Calls"]


class Calls:
    """The calls of one service, on one event loop."""

    def __init__(self) -> None:
        """Start without any."""
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is being answered.

        grpc.aio's Server.stop can return before handlers have ended (grpc#37239).
        """
        await self._idle.wait()

    def wrapped(self, method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Return `method`, counted, and its errors as statuses.

        A request that is itself an error, see `deserializer_of`, is refused with it.
        """

        async def answer(request: Any, context: Any) -> Any:
            self._count += 1
            self._idle.clear()
            try:
                if isinstance(request, ProtocolViolation):
                    raise request
                return await method(request, context)
            # Cancellation is no Exception and passes: swallowing it would leak
            # memory for every cancelled call (grpc#43360).
            except Exception as error:
                await abort(context, error)
            finally:
                self._count -= 1
                if not self._count:
                    self._idle.set()

        return answer
