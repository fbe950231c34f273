"""Where the tasks of a stream leave what its caller takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client.errors import FrameRefusal

__all__ = ["FrameAnswer", "Inbox"]

FrameAnswer = pb.Result | FrameRefusal


class Inbox:
    """Answers in the order in which they came, an end, and failures in between."""

    def __init__(self) -> None:
        """Start empty."""
        self._queue: asyncio.Queue[FrameAnswer | Exception | None] = asyncio.Queue()

    def put(self, answer: FrameAnswer) -> None:
        """Leave an answer."""
        self._queue.put_nowait(answer)

    def end(self) -> None:
        """Say that no other answer comes."""
        self._queue.put_nowait(None)

    async def guard(self, work: Awaitable[None]) -> None:
        """Await `work`, the whole of a task; its failure reaches whoever takes."""
        try:
            await work
        except Exception as error:
            self._queue.put_nowait(error)

    async def take(self) -> FrameAnswer | None:
        """Wait for the next answer; None at the end.

        Raises:
            Exception: What a guarded task raised.
        """
        found = await self._queue.get()
        if isinstance(found, Exception):
            raise found
        return found
