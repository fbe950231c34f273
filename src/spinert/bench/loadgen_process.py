"""MLPerf's LoadGen in a process of its own: python -m spinert.bench.loadgen_process.

It keeps global state, writes to standard output and ends the process where its
checks fail, none of which a command can live with.

Frames travel over one stream of the public client. A frame that is refused is
completed towards LoadGen, which would otherwise wait for ever, and counted: the run
is then not valid, whatever LoadGen says.
"""

from __future__ import annotations

import array
import asyncio
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import mlperf_loadgen as lg

from spinert.bench.frames import frame_from_wire, named
from spinert.bench.latencies import latency_summary
from spinert.bench.loadgen_order import (
    SAMPLES_PER_QUERY,
    LoadGenOrder,
    order_from_json,
)
from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import AsyncClient, Frame, FrameRefusal, RequestFailed

__all__ = ["main"]

_NS_PER_MS: Final = 1_000_000
_READY_S: Final = 10.0


def main(arguments: Sequence[str]) -> None:
    """Run the order in the first file, write the result into the second."""
    order = order_from_json(Path(arguments[0]).read_text())
    frames = [frame_from_wire(Path(path).read_bytes()) for path in order.frames]
    subject = Subject(order, frames)
    thread = threading.Thread(target=asyncio.run, args=(subject.serve(),), daemon=True)
    thread.start()
    subject.wait_ready()
    sut = lg.ConstructSUT(subject.issue, _flush)
    count = len(frames)
    library = lg.ConstructQSL(count, count, _load, _load)
    logs = lg.LogOutputSettings()
    logs.outdir = order.logs
    log_settings = lg.LogSettings()
    log_settings.log_output = logs
    log_settings.enable_trace = False
    lg.StartTestWithLogSettings(sut, library, settings_of(order), log_settings)
    lg.DestroyQSL(library)
    lg.DestroySUT(sut)
    subject.end()
    thread.join()
    Path(arguments[1]).write_text(json.dumps(subject.told()))


def settings_of(order: LoadGenOrder) -> Any:
    """Return LoadGen's settings for an order."""
    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, order.scenario)
    settings.mode = (
        lg.TestMode.AccuracyOnly if order.is_accuracy else lg.TestMode.PerformanceOnly
    )
    settings.min_duration_ms = round(1000 * order.seconds)
    # By early stopping, LoadGen itself tells whether a run had enough queries.
    settings.min_query_count = 1
    settings.offline_expected_qps = order.rate_per_s
    settings.server_target_qps = order.rate_per_s
    settings.server_target_latency_ns = round(order.latency_bound_ms * _NS_PER_MS)
    settings.server_target_latency_percentile = 0.99
    settings.multi_stream_samples_per_query = SAMPLES_PER_QUERY
    return settings


class Subject:
    """The system under test, as LoadGen calls it: a stream to a server."""

    def __init__(self, order: LoadGenOrder, frames: Sequence[Frame]) -> None:
        """Describe a subject; `serve` connects it."""
        self._order = order
        self._frames = frames
        self._failures: Counter[str] = Counter()
        self._latencies_s: list[float] = []
        self._issued: dict[int, float] = {}
        self._queue: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._broken = ""

    async def serve(self) -> None:
        """Send what LoadGen issues, until `end`."""
        self._loop = asyncio.get_running_loop()
        order = self._order
        async with AsyncClient(order.address, device="loadgen") as client:
            try:
                await client.wait_ready(_READY_S)
                self._started.set()
                stream = client.stream(
                    self._due(), in_order=False, max_in_flight=order.depth
                )
                async for answer in stream:
                    self._take(answer)
                return
            except RequestFailed as failure:
                self._broken = failure.reason or failure.status.name
                self._started.set()
        await self._fail_the_rest()

    def wait_ready(self) -> None:
        """Block until the server answers, or never will."""
        self._started.wait()

    def issue(self, samples: Sequence[Any]) -> None:
        """Take a query; called by LoadGen's thread."""
        now_s = time.perf_counter()
        wanted = [(sample.id, sample.index) for sample in samples]
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._put, wanted, now_s)

    def end(self) -> None:
        """Let `serve` end; called when LoadGen is done."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, None)

    def told(self) -> dict[str, Any]:
        """Return what became of the frames."""
        return {
            "latency": latency_summary(self._latencies_s),
            "failures": dict(sorted(self._failures.items())),
        }

    # ------------------------------------------------------------ on the event loop

    def _put(self, wanted: list[tuple[int, int]], now_s: float) -> None:
        for entry in wanted:
            self._issued[entry[0]] = now_s
            self._queue.put_nowait(entry)

    async def _due(self) -> AsyncIterator[Frame]:
        while (entry := await self._queue.get()) is not None:
            query, index = entry
            yield named(self._frames[index], str(query))

    def _take(self, answer: pb.Result | FrameRefusal) -> None:
        query = int(answer.frame_id)
        if isinstance(answer, FrameRefusal):
            self._fail(query, answer.reason)
            return
        self._latencies_s.append(time.perf_counter() - self._issued.pop(query))
        _complete(query, answer.verdict.SerializeToString(deterministic=True))

    def _fail(self, query: int, reason: str) -> None:
        self._issued.pop(query)
        self._failures[reason] += 1
        _complete(query, b"")

    async def _fail_the_rest(self) -> None:
        """Answer what the broken stream does not, and all that LoadGen still issues."""
        for query in list(self._issued):
            self._fail(query, self._broken)
        while not self._queue.empty():
            self._queue.get_nowait()
        while (entry := await self._queue.get()) is not None:
            self._fail(entry[0], self._broken)


def _complete(query: int, content: bytes) -> None:
    """Tell LoadGen of an answer; it copies the bytes before it returns."""
    held = array.array("B", content)
    place, length = held.buffer_info()
    lg.QuerySamplesComplete([lg.QuerySampleResponse(query, place, length)])


def _load(_indices: Sequence[int]) -> None:
    """Keep all frames in memory all the time."""


def _flush() -> None:
    """Hold nothing back."""


if __name__ == "__main__":
    main(sys.argv[1:])
