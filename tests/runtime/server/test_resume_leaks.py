"""Thousands of streams without a socket."""

import asyncio
import gc
import time
from collections import Counter

import grpc
import pytest
from support.fronts import ScriptedEngine, identity
from support.wires import raw_frame

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import Settings
from spinert.runtime.errors import Reason, StreamStateError, Unavailable
from spinert.runtime.server.service import limits_from_settings
from spinert.runtime.server.stream import Serving
from spinert.runtime.server.stream_host import StreamHost
from spinert.runtime.server.wire import ReceivedFrame


class Call:
    """A call without a socket, whose client says `messages` and is gone then."""

    def __init__(self, *messages):
        self.messages = list(messages)
        self.written = []

    def peer(self):
        return "nobody"

    async def read(self):
        return self.messages.pop(0) if self.messages else grpc.aio.EOF

    async def write(self, message):
        self.written.append(message)


async def open_and_leave(host, serving, *messages, **opening):
    call = Call(*messages)
    await host.serve(serving, pb.Open(**opening), call, lambda frame: frame.payload)
    return call.written[0].opened.resume_token


async def resume_wrongly(host, serving):
    with pytest.raises(StreamStateError):
        await open_and_leave(host, serving, resume_token="name.secret")


async def leave_at_once(host, serving):
    await open_and_leave(host, serving, resumable=True)


async def leave_without_acknowledging(host, serving):
    frame = ReceivedFrame(frame=raw_frame("a", 1), payload=b"123456")
    token = await open_and_leave(host, serving, frame, resumable=True)
    acknowledged = pb.StreamRequest(ack=pb.Ack(sequence=1))
    await open_and_leave(host, serving, acknowledged, resume_token=token)


def counted():
    gc.collect()
    kinds = Counter(type(found).__name__ for found in gc.get_objects())
    watched = ("StreamSession", "StreamLedger", "ResumeBook", "_Kept", "Hold")
    return {name: kinds[name] for name in (*watched, "Future", "Task", "TimerHandle")}


@pytest.mark.parametrize(
    ("cycle", "times"),
    [
        (resume_wrongly, 10_000),
        (leave_at_once, 10_000),
        (leave_without_acknowledging, 1000),
    ],
)
def test_thousands_of_cycles_leave_nothing(cycle, times):
    async def main():
        limits = limits_from_settings(Settings())
        host = StreamHost(limits, resume_window_s=60, resume_max_streams=8)
        serving = Serving(engine=Forgetful(), identity=identity, clock=time.monotonic)
        for _ in range(20):
            await cycle(host, serving)
        before = counted()
        for _ in range(times):
            await cycle(host, serving)
        assert counted() == before
        assert host.resumable <= 8
        host.drain(Unavailable(Reason.SHUTTING_DOWN, "over"))
        assert not host.resumable

    asyncio.run(main())


class Forgetful(ScriptedEngine):
    """Answers at once and remembers nothing."""

    def submit(self, request):
        future = super().submit(request)
        self.requests.clear()
        self.futures.clear()
        return future
