"""The client for code without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

import grpc

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client.aio import AsyncClient
from spinert.runtime.client.frames import Frame
from spinert.runtime.client.inbox import FrameAnswer
from spinert.runtime.client.shared import SharedMemory
from spinert.runtime.frame import Priority

__all__ = ["Client"]

T = TypeVar("T")


class Client:
    """AsyncClient driven by an event loop on a thread of its own.

    >>> with Client("127.0.0.1:50051") as client:  # doctest: +SKIP
    ...     result = client.analyze(Frame.from_path("spine.dcm"))

    May be used from several threads.
    """

    def __init__(
        self,
        address: str,
        *,
        device: str = "",
        credentials: grpc.ChannelCredentials | None = None,
        max_message_mib: int = 64,
        keepalive_ms: int = 20_000,
        shared_memory: SharedMemory | None = None,
    ) -> None:
        """Describe a client; arguments are those of AsyncClient."""
        self._client = AsyncClient(
            address,
            device=device,
            credentials=credentials,
            max_message_mib=max_message_mib,
            keepalive_ms=keepalive_ms,
            shared_memory=shared_memory,
        )

    def __enter__(self) -> Client:
        """Start the thread and make the channel."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="spinert-client", daemon=True
        )
        self._thread.start()
        try:
            self._run(self._client.__aenter__())
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection and end the thread."""
        try:
            self._run(self._client.__aexit__(kind, error, trace))
        finally:
            self._end_thread()

    def analyze(self, frame: Frame, *, timeout_s: float | None = 60.0) -> pb.Result:
        """Send one frame and wait for its answer; see AsyncClient.analyze.

        Raises:
            RequestFailed: No answer; `reason` says why.
        """
        return self._run(self._client.analyze(frame, timeout_s=timeout_s))

    def stream(
        self,
        frames: Iterable[Frame],
        *,
        in_order: bool = True,
        max_in_flight: int | None = None,
        resumable: bool = False,
        latest_frame_wins: bool = False,
        priority: Priority | None = None,
    ) -> Iterator[FrameAnswer]:
        """Send frames and yield one answer for each; see AsyncClient.stream.

        `frames` is iterated on a thread of its own, so that sending goes on while
        the caller works on an answer. Nobody waits for it when the stream is left.

        Raises:
            RequestFailed: The stream itself ended.
        """
        with closing(_Source(iter(frames))) as source:
            stream = _Stream(
                self._client.stream(
                    source.frames(),
                    in_order=in_order,
                    max_in_flight=max_in_flight,
                    resumable=resumable,
                    latest_frame_wins=latest_frame_wins,
                    priority=priority,
                )
            )
            try:
                while (answer := self._run(stream.next())) is not None:
                    yield answer
            finally:
                # A stream left half read may be collected after the client closed.
                if not self._loop.is_closed():
                    self._run(stream.close())

    @contextmanager
    def shared_slot(self) -> Iterator[memoryview]:
        """Lend memory for one frame; see AsyncClient.shared_slot.

        Raises:
            RuntimeError: The client was made without `shared_memory`.
        """
        slot = self._client.shared_slot()
        memory = self._run(slot.__aenter__())
        try:
            yield memory
        finally:
            self._run(slot.__aexit__(None, None, None))

    def server_info(self, *, timeout_s: float = 10.0) -> pb.ServerInfo:
        """Ask what is served.

        Raises:
            RequestFailed: No server there, or it is not ready.
        """
        return self._run(self._client.server_info(timeout_s=timeout_s))

    def wait_ready(self, timeout_s: float) -> pb.ServerInfo:
        """Wait until the server answers frames.

        Raises:
            RequestFailed: It does not within `timeout_s`, or never will.
        """
        return self._run(self._client.wait_ready(timeout_s))

    def _end_thread(self) -> None:
        self._run(_let_tasks_end())
        self._run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            # Left by Ctrl-C: what nobody waits for must not go on.
            future.cancel()


class _Stream:
    """Answers taken one at a time; closing waits for the one being taken."""

    def __init__(self, answers: AsyncGenerator[FrameAnswer, None]) -> None:
        self._answers = answers
        self._turn = asyncio.Lock()

    async def next(self) -> FrameAnswer | None:
        async with self._turn:
            return await anext(self._answers, None)

    async def close(self) -> None:
        async with self._turn:
            await self._answers.aclose()


class _Source:
    """Iterates on one thread, which may block without keeping the process alive."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self._asked: SimpleQueue[Future[Frame | None] | None] = SimpleQueue()
        threading.Thread(target=self._work, name="spinert-frames", daemon=True).start()

    def close(self) -> None:
        self._asked.put(None)

    async def frames(self) -> AsyncIterator[Frame]:
        while (frame := await self._next()) is not None:
            yield frame

    async def _next(self) -> Frame | None:
        future: Future[Frame | None] = Future()
        self._asked.put(future)
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while (future := self._asked.get()) is not None:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(next(self._frames, None))
            except BaseException as error:
                future.set_exception(error)


async def _let_tasks_end() -> None:
    this = asyncio.current_task()
    rest = [task for task in asyncio.all_tasks() if task is not this]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
