"""Load on a server, through the client that devices use.

Closed loop: a device sends its next frame when one of its answers is there, which
finds the throughput. Open loop: frames are sent when they are due, whatever the
server does, which finds the latency.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from typing import Any, Final, TypeVar

import uvloop

from spinert.bench.arrivals import Arrival
from spinert.bench.errors import SubjectLost
from spinert.bench.frames import LoadFrame, named
from spinert.bench.outcomes import Outcome, stages_from_wire
from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import AsyncClient, Frame, FrameRefusal, RequestFailed

__all__ = ["closed_loop", "open_loop", "run_load"]

_READY_S: Final = 5.0
_AT_ONCE: Final = 32
"""Connections made at a time: hundreds at once are refused by a full backlog."""
_LEAD_S: Final = 0.05
"""From the decision to start until the first frame may be due."""
_NOT_ANSWERED: Final = "STREAM_ENDED"

T = TypeVar("T")


def run_load(load: Coroutine[Any, Any, T]) -> T:
    """Run a load on an event loop as fast as the server's."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load)


async def closed_loop(
    address: str,
    frames: Sequence[LoadFrame],
    *,
    count: int,
    depth: int,
    devices: int = 1,
) -> list[Outcome]:
    """Send `count` frames in turn, `depth` in flight from each device.

    Raises:
        SubjectLost: No server answers at `address`.
    """
    todo = iter(range(count))
    async with AsyncExitStack() as stack:
        senders = await _senders(address, frames, devices, stack)
        async with asyncio.TaskGroup() as group:
            for sender in senders:
                group.create_task(sender.run(sender.in_turn(todo), depth))
    return [outcome for sender in senders for outcome in sender.outcomes]


async def open_loop(
    address: str, frames: Sequence[LoadFrame], arrivals: Sequence[Arrival]
) -> list[Outcome]:
    """Send every frame when it is due; its latency counts from then.

    Raises:
        SubjectLost: No server answers at `address`.
    """
    devices = 1 + max(arrival.device for arrival in arrivals)
    async with AsyncExitStack() as stack:
        senders = await _senders(address, frames, devices, stack)
        start_s = time.perf_counter() + _LEAD_S
        async with asyncio.TaskGroup() as group:
            for sender in senders:
                group.create_task(sender.run(sender.when_due(), None))
            await _pace(senders, arrivals, start_s)
    for sender in senders:
        sender.count_lost()
    return [outcome for sender in senders for outcome in sender.outcomes]


async def _pace(
    senders: Sequence[_Sender], arrivals: Sequence[Arrival], start_s: float
) -> None:
    for arrival in arrivals:
        due_s = start_s + arrival.at_s
        # Late already: send all that is due without a pause, but let others run.
        await asyncio.sleep(0)
        # Timers of the loop count whole milliseconds, and may end one too early.
        while (left_s := due_s - time.perf_counter()) > 0:
            await asyncio.sleep(left_s)
        senders[arrival.device].due.put_nowait((due_s, arrival.frame))
    for sender in senders:
        sender.due.put_nowait(None)


async def _senders(
    address: str, frames: Sequence[LoadFrame], devices: int, stack: AsyncExitStack
) -> list[_Sender]:
    """Connect every device before the first frame."""
    senders = []
    for index in range(devices):
        client = AsyncClient(address, device=f"bench-{index}")
        await stack.enter_async_context(client)
        senders.append(_Sender(client, frames))
    remaining = iter(senders)
    while batch := list(islice(remaining, _AT_ONCE)):
        await asyncio.gather(*(sender.connect(address) for sender in batch))
    return senders


class _Sender:
    """One device: a connection, a stream, and what became of its frames."""

    def __init__(self, client: AsyncClient, frames: Sequence[LoadFrame]) -> None:
        self.outcomes: list[Outcome] = []
        self.due: asyncio.Queue[tuple[float, int] | None] = asyncio.Queue()
        self._client = client
        self._frames = frames
        self._in_flight: dict[str, tuple[int, float, float]] = {}
        self._number = 0
        self._broken = _NOT_ANSWERED

    async def connect(self, address: str) -> None:
        try:
            await self._client.wait_ready(_READY_S)
        except RequestFailed as failure:
            raise SubjectLost(
                f"no answer from {address}: {failure.reason or failure.status.name}; "
                "see that `spinert serve` is running and ready"
            ) from failure

    async def run(self, source: AsyncIterator[Frame], depth: int | None) -> None:
        stream = self._client.stream(source, in_order=False, max_in_flight=depth)
        try:
            async for answer in stream:
                self._take(answer)
        except RequestFailed as failure:
            self._broken = failure.reason or failure.status.name
        self.count_lost()

    async def in_turn(self, todo: Iterator[int]) -> AsyncIterator[Frame]:
        for number in todo:
            now_s = time.perf_counter()
            yield self._sent(number % len(self._frames), now_s, now_s)

    async def when_due(self) -> AsyncIterator[Frame]:
        while (entry := await self.due.get()) is not None:
            due_s, frame = entry
            yield self._sent(frame, due_s, time.perf_counter())

    def _sent(self, frame: int, due_s: float, sent_s: float) -> Frame:
        self._number += 1
        name = str(self._number)
        self._in_flight[name] = frame, due_s, sent_s
        return named(self._frames[frame].frame, name)

    def _take(self, answer: pb.Result | FrameRefusal) -> None:
        ended_s = time.perf_counter()
        frame, due_s, sent_s = self._in_flight.pop(answer.frame_id)
        told: dict[str, Any]
        if isinstance(answer, FrameRefusal):
            told = {"reason": answer.reason}
        else:
            told = stages_from_wire(answer.receipt)
        self.outcomes.append(
            Outcome(
                frame=frame,
                due_s=due_s,
                sent_s=sent_s,
                ended_s=ended_s,
                **told,
            )
        )

    def count_lost(self) -> None:
        """Count what was sent, or was to be sent, and got no answer.

        Called again once nothing more falls due: a stream may break before.
        """
        now_s = time.perf_counter()
        lost = list(self._in_flight.values())
        while not self.due.empty():
            if (entry := self.due.get_nowait()) is not None:
                lost.append((entry[1], entry[0], now_s))
        self._in_flight.clear()
        self.outcomes += [
            Outcome(
                frame=frame,
                due_s=due_s,
                sent_s=sent_s,
                ended_s=now_s,
                reason=self._broken,
            )
            for frame, due_s, sent_s in lost
        ]
