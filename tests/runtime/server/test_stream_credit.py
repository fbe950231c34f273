"""Credit on a stream over a real socket."""

import asyncio

from support.fronts import ScriptedEngine
from support.streams import ids, on_stream, reasons, streaming, tasks_in, until

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import Reason


def test_a_frame_without_credit_is_refused_and_the_others_are_not():
    async def script(stream, engine):
        assert stream.credit == 2
        for name in "abc":
            await stream.frame(name)
        await engine.has(2)
        first = await stream.answer()
        for index in (0, 1):
            engine.finish(index)
        rest = [await stream.answer(), await stream.answer()]
        await stream.frame("d")
        await engine.has(1)
        engine.finish(2)
        return [first, *rest, *await stream.rest()]

    engine = ScriptedEngine(is_held=True)
    answers = on_stream(script, engine, 2, order=pb.ORDER_AS_COMPLETED)
    assert ids(answers) == ["c", "a", "b", "d"]
    assert reasons(answers) == [Reason.CREDIT_EXCEEDED, "", "", ""]


def test_a_client_that_sends_without_credit_is_held_back_until_it_reads():
    """What the server keeps for it is bounded; TCP makes it wait."""

    async def send(stream, count):
        for _ in range(count):
            await stream.frame("", study_uid="1" * 60)

    async def main():
        engine = ScriptedEngine(is_held=True)
        async with streaming(engine, 2) as (front, stream):
            sending = asyncio.create_task(send(stream, 50))
            await engine.has(2)
            [session] = front.service.streams.connected
            await until(lambda: session._ledger.unsent == 4)
            await asyncio.sleep(0.1)
            assert session._ledger.unsent == 4
            engine.is_held = False
            engine.finish(0)
            engine.finish(1)
            await sending
            return await stream.rest()

    assert len(asyncio.run(main())) == 50


def test_a_client_that_leaves_while_it_is_held_back_leaves_nothing():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with streaming(engine, 1) as (front, stream):
            for _ in range(9):
                await stream.frame()
            [session] = front.service.streams.connected
            await until(lambda: session._ledger.unsent == 2)
            stream.call.cancel()
            await front.service.idle()
            await until(lambda: not tasks_in("/stream.py"))

    asyncio.run(main())


def test_credit_keeps_coming_over_a_long_stream():
    async def script(stream, engine):
        answered = 0
        for number in range(1, 101):
            while not stream.credit:
                reply = await stream.call.read()
                stream.credit += reply.credit.frames
                answered += reply.HasField("result")
            stream.credit -= 1
            await stream.frame("", number)
        return answered + len(await stream.rest())

    for credit in (1, 2, 7):
        assert on_stream(script, None, credit) == 100
