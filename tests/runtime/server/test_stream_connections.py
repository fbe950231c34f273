"""A stream and the connections that carry it, one after the other."""

import asyncio
import time

from support.fronts import ScriptedEngine, identity
from support.wires import raw_frame

from spinert.proto import inference_pb2 as pb
from spinert.runtime.server.stream import Serving, StreamSession
from spinert.runtime.server.stream_terms import Connection, StreamTerms
from spinert.runtime.server.wire import ReceivedFrame


class Wire:
    """A call as its handler sees it: what a test puts in, and what was written."""

    def __init__(self):
        self.inbox = asyncio.Queue()
        self.written = asyncio.Queue()

    async def read(self):
        return await self.inbox.get()

    async def write(self, message):
        await self.written.put(message)

    async def next(self, kind):
        async with asyncio.timeout(10):
            while True:
                message = await self.written.get()
                if message.WhichOneof("message") == kind:
                    return message

    def connection(self):
        return Connection(
            context=self, opened=pb.Opened(), payload_of=lambda frame: frame.payload
        )


def test_a_connection_that_ends_late_leaves_the_next_one_alone():
    async def main():
        serving = Serving(
            engine=ScriptedEngine(), identity=identity, clock=time.monotonic
        )
        terms = StreamTerms(device="one", max_in_flight=4, is_resumable=True)
        session, first, second = StreamSession(serving, terms), Wire(), Wire()
        late = asyncio.create_task(session.run(first.connection()))
        await first.next("opened")
        running = asyncio.create_task(session.run(second.connection()))
        await second.next("opened")
        late.cancel()
        await asyncio.wait((late,))
        frame = raw_frame("a", 1)
        second.inbox.put_nowait(ReceivedFrame(frame=frame, payload=frame.raw.pixels))
        answer = (await second.next("result")).result
        running.cancel()
        await asyncio.wait((running,))
        return answer.frame_id

    assert asyncio.run(main()) == "a"
