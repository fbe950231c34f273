"""What a resumable stream sends, and when its source is asked, without a network."""

import asyncio

import numpy as np
import pytest

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client.errors import RequestFailed, refusal_from_frame_error
from spinert.runtime.client.frames import Frame, PixelFormat
from spinert.runtime.client.inbox import Inbox
from spinert.runtime.client.outbox import Outbox
from spinert.runtime.client.wire import bytes_from_outgoing
from spinert.runtime.errors import Reason


def opened(received=0):
    limits = pb.Limits(max_frames_in_flight=2, max_message_bytes=2**20)
    return pb.Opened(limits=limits, received_sequence=received)


class SlowCall:
    """A connection that takes a message whenever the test says so."""

    def __init__(self):
        self.written = []
        self._room = asyncio.Semaphore(0)

    async def write(self, message):
        self.written.append(pb.StreamRequest.FromString(bytes_from_outgoing(message)))
        await self._room.acquire()

    def take(self, count):
        for _ in range(count):
            self._room.release()

    @property
    def frames(self):
        """The numbers of the frames written, in order."""
        return [m.frame.sequence for m in self.written if m.HasField("frame")]


class Source:
    def __init__(self):
        self.asked = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        self.asked += 1
        return Frame.from_array(np.eye(8, dtype=np.uint8), PixelFormat(bits_stored=8))


async def settled():
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def with_outbox(script):
    """Run `script(outbox, source, inbox)` while the outbox is at work."""

    async def main():
        inbox, source = Inbox(), Source()
        outbox = Outbox(inbox, max_in_flight=None, max_message_bytes=2**20)
        tasks = [
            asyncio.create_task(work)
            for work in (
                outbox.draw(source, in_order=True),
                outbox.send(),
                outbox.acknowledge(),
            )
        ]
        try:
            async with asyncio.timeout(10):
                await script(outbox, source, inbox)
        finally:
            for task in tasks:
                task.cancel()

    asyncio.run(main())


def test_a_source_is_asked_for_a_frame_only_when_it_could_be_sent_at_once():
    async def script(outbox, source, _):
        call = SlowCall()
        await settled()
        assert source.asked == 0  # no connection
        outbox.connect(call, opened())
        await settled()
        assert source.asked == 0  # no credit
        outbox.grant(1)
        await settled()
        outbox.grant(1)
        await settled()
        assert (source.asked, call.frames) == (1, [1])  # it is being written
        call.take(1)
        await settled()
        assert (source.asked, call.frames) == (2, [1, 2])
        call.take(2)
        outbox.grant(2)
        await settled()
        assert source.asked == 2  # as many in flight as the server allows

    with_outbox(script)


def test_what_was_lost_is_sent_before_the_source_is_asked_again():
    async def script(outbox, source, _):
        first, second = SlowCall(), SlowCall()
        outbox.connect(first, opened())
        outbox.grant(2)
        first.take(9)
        await settled()
        outbox.disconnect()
        assert not outbox.connect(second, opened(received=0))
        outbox.grant(1)
        await settled()
        assert (second.frames, source.asked) == ([1], 2)
        second.take(9)
        outbox.grant(1)
        await settled()
        assert (second.frames, source.asked) == ([1, 2], 2)

    with_outbox(script)


def test_a_frame_that_a_server_took_is_more_than_before_once():
    async def script(outbox, _, __):
        first = SlowCall()
        outbox.connect(first, opened())
        outbox.grant(2)
        first.take(9)
        await settled()
        told = [outbox.connect(SlowCall(), opened(received=n)) for n in (1, 1, 2, 2)]
        assert told == [True, False, True, False]

    with_outbox(script)


def test_an_answer_counts_once_and_a_refusal_of_a_server_that_ends_does_not():
    async def script(outbox, _, inbox):
        call = SlowCall()
        outbox.connect(call, opened())
        outbox.grant(1)
        call.take(9)
        await settled()
        error = pb.FrameError(sequence=1, reason=Reason.SHUTTING_DOWN)
        refusal = refusal_from_frame_error(error)
        assert not outbox.arrive(refusal)
        assert outbox.arrive(pb.Result(sequence=1))
        assert not outbox.arrive(pb.Result(sequence=1))
        assert (await inbox.take()).sequence == 1
        with pytest.raises(RequestFailed, match="answered frame 2"):
            outbox.arrive(pb.Result(sequence=2))

    with_outbox(script)
