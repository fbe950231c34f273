"""Which frame an id names, and for how long."""

import asyncio
import time

import grpc
import pytest
from support.fronts import ScriptedEngine, identity
from support.streams import fronted, left, on_stream, reasons, resumed, until
from support.wires import opened, raw_frame

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import Reason
from spinert.runtime.server.stream import Serving, StreamSession
from spinert.runtime.server.stream_terms import Connection, StreamTerms
from spinert.runtime.server.wire import ReceivedFrame


def test_a_duplicate_id_in_flight_is_refused_and_free_after_its_answer():
    async def script(stream, engine):
        await stream.frame("a")
        await stream.frame("a")
        await engine.has(1)
        engine.finish(0)
        found = [await stream.answer(), await stream.answer()]
        engine.is_held = False
        await stream.frame("a")
        return found + await stream.rest()

    answers = on_stream(script, ScriptedEngine(is_held=True))
    assert reasons(answers) == ["", Reason.DUPLICATE_FRAME_ID, ""]
    assert answers[1].code == grpc.StatusCode.ALREADY_EXISTS.value[0]


def test_sequence_numbers_must_increase():
    async def script(stream, engine):
        for number in (5, 5, 0, 6):
            await stream.frame("", number)
        return reasons(await stream.rest())

    assert on_stream(script) == ["", Reason.SEQUENCE_NOT_INCREASING, "", ""]


def test_an_id_that_is_too_long_is_refused_and_not_sent_back():
    async def script(stream, engine):
        await stream.frame("x" * 129, 3)
        return await stream.rest()

    [error] = on_stream(script)
    assert (error.reason, error.frame_id) == (Reason.FIELD_TOO_LONG, "")
    assert error.sequence == 3


def test_an_id_is_free_while_its_answer_may_still_come_again():
    """On a resumable stream the two are told apart by number."""

    async def main():
        async with fronted(ScriptedEngine()) as (front, proxy, stub):
            stream = await opened(stub, resumable=True)
            await stream.frame("same", 1)
            first = await stream.answer()
            await stream.frame("same", 2)
            second = await stream.answer()
            proxy.cut()
            await left(front)
            back = await resumed(stub, stream)
            return [first, second], [await back.answer(), await back.answer()]

    before, again = asyncio.run(main())
    assert before == again
    assert reasons(again) == ["", ""]
    assert [answer.sequence for answer in again] == [1, 2]


def test_an_id_is_taken_while_its_frame_goes_on_without_a_connection():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with fronted(engine) as (front, proxy, stub):
            stream = await opened(stub, resumable=True)
            await stream.frame("same", 1)
            await engine.has(1)
            proxy.cut()
            await left(front)
            back = await resumed(stub, stream)
            await back.frame("same", 2)
            [session] = front.service.streams.connected
            await until(lambda: session.received_sequence == 2)
            engine.finish(0)
            return [await back.answer(), await back.answer()]

    assert reasons(asyncio.run(main())) == ["", Reason.DUPLICATE_FRAME_ID]


class HastyCall:
    """A call without a socket, whose client has an answer before its write returns.

    It sends the next of `frames` at once, and the write goes on when that was taken.
    """

    def __init__(self, *frames):
        self.frames = list(frames)
        self.sent = asyncio.Queue()
        self.is_taking = False
        self.answers = []
        self.say_next()

    def say_next(self):
        if self.frames:
            frame = ReceivedFrame(frame=self.frames.pop(0), payload=b"123456")
            self.sent.put_nowait(frame)

    async def read(self):
        if self.is_taking:
            self.sent.task_done()
        self.is_taking = bool(self.frames) or not self.sent.empty()
        return await self.sent.get() if self.is_taking else grpc.aio.EOF

    async def write(self, message):
        kind = message.WhichOneof("message")
        if kind in ("result", "frame_error"):
            self.answers.append(getattr(message, kind))
            self.say_next()
            await self.sent.join()


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("in_order", [True, False])
def test_an_id_is_free_as_soon_as_the_client_has_the_answer(resumable, in_order):
    async def main():
        call = HastyCall(*(raw_frame("same", n) for n in (1, 2, 3)))
        serving = Serving(
            engine=ScriptedEngine(), identity=identity, clock=time.monotonic
        )
        terms = StreamTerms(
            device="x", max_in_flight=4, in_order=in_order, is_resumable=resumable
        )
        connection = Connection(
            context=call, opened=pb.Opened(), payload_of=lambda frame: frame.payload
        )
        async with asyncio.timeout(10):
            await StreamSession(serving, terms).run(connection)
        return call.answers

    found = asyncio.run(main())
    assert reasons(found) == ["", "", ""]
    assert [answer.sequence for answer in found] == [1, 2, 3]
