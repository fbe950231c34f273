"""Streams that outlive their connection, over real sockets."""

import asyncio

from support.fronts import ScriptedEngine
from support.streams import fronted, left, resumed, sequences, until
from support.wires import opened, stub_of

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import Reason


def test_a_resumable_stream_says_how_it_can_be_resumed():
    async def main():
        async with fronted(ScriptedEngine(), resume_window_s=7) as (_, _, stub):
            return (await opened(stub, resumable=True)).opened

    told = asyncio.run(main())
    assert len(told.resume_token.partition(".")[2]) == 32  # 192 bits in base64
    assert (told.resume_window_ms, told.received_sequence) == (7000, 0)


def test_frames_go_on_without_a_connection_and_answers_wait():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with fronted(engine) as (front, proxy, stub):
            stream = await opened(stub, resumable=True)
            for number in (1, 2, 3):
                await stream.frame(f"f{number}", number)
            await engine.has(3)
            proxy.cut()
            await left(front)
            assert not any(future.cancelled() for future in engine.futures)
            engine.finish(0)
            engine.finish(1)
            back = await resumed(stub, stream)
            engine.finish(2)
            return back, await sequences(back, 3)

    back, found = asyncio.run(main())
    assert back.opened.received_sequence == 3
    assert found == [1, 2, 3]
    assert back.credit == 1  # of 4: three frames are not acknowledged


def test_what_was_acknowledged_does_not_come_again():
    async def main():
        async with fronted(ScriptedEngine()) as (front, proxy, stub):
            stream = await opened(stub, resumable=True)
            for number in (1, 2, 3, 4):
                await stream.frame("", number)
            await sequences(stream, 4)
            await stream.send(ack=pb.Ack(sequence=2))
            [session] = front.service.streams.connected
            await until(lambda: len(session._ledger.unacknowledged()) == 2)
            proxy.cut()
            await left(front)
            back = await resumed(stub, stream)
            return back.credit, await sequences(back, 2)

    assert asyncio.run(main()) == (2, [3, 4])


def test_an_answer_on_its_way_when_the_connection_broke_comes_again():
    async def main():
        async with fronted(ScriptedEngine()) as (front, proxy, stub):
            stream = await opened(stub, resumable=True)
            await stream.frame("a", 1, study_uid="1.2")
            first = await stream.answer()
            proxy.cut()
            await left(front)
            back = await resumed(stub, stream)
            return first, await back.answer()

    first, again = asyncio.run(main())
    assert first == again
    assert again.study.frames == 1


def test_answers_come_in_order_across_connections_also_as_completed():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with fronted(engine) as (front, proxy, stub):
            as_completed = pb.ORDER_AS_COMPLETED
            stream = await opened(stub, resumable=True, order=as_completed)
            for number in (1, 2, 3):
                await stream.frame("", number)
            await engine.has(3)
            engine.finish(2)
            engine.finish(1)
            before = await sequences(stream, 2)
            proxy.cut()
            await left(front)
            engine.finish(0)
            back = await resumed(stub, stream)
            return before, await sequences(back, 3)

    # First what may have been lost, in order of the frames, then the rest.
    assert asyncio.run(main()) == ([3, 2], [2, 3, 1])


def test_a_frame_sent_twice_is_computed_and_answered_once():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with fronted(engine) as (front, proxy, stub):
            stream = await opened(stub, resumable=True)
            await stream.frame("a", 1)
            await engine.has(1)
            proxy.cut()
            await left(front)
            back = await resumed(stub, stream)
            credit = back.credit
            await back.frame("a", 1)
            await back.frame("b", 2)
            await engine.has(1)
            engine.finish(0)
            engine.finish(1)
            found = await sequences(back, 2)
            await back.send(ack=pb.Ack(sequence=2))
            await until(lambda: front.service.streams.connected[0].is_settled)
            await back.call.done_writing()
            assert await back.answer() is None
            return len(engine.requests), found, (credit, back.credit)

    frames, found, (before, after) = asyncio.run(main())
    assert (frames, found) == (2, [1, 2])
    # Of 4: one was in flight, and all came back, that of the repeated frame too.
    assert (before, after) == (3, 3 + 3)


def test_credit_comes_back_with_the_acknowledgement():
    async def main():
        async with fronted(ScriptedEngine(), 2) as (_, _, stub):
            stream = await opened(stub, resumable=True)
            await stream.frame("a", 1)
            await stream.frame("b", 2)
            await sequences(stream, 2)
            await stream.frame("excess", 3)
            excess = await stream.answer()
            assert stream.credit == 2
            await stream.send(ack=pb.Ack(sequence=2))
            await stream.frame("c", 3)
            return excess, (await stream.answer()).frame_id, stream.credit

    excess, third, credit = asyncio.run(main())
    assert (excess.reason, third) == (Reason.CREDIT_EXCEEDED, "c")
    assert credit == 4


def test_frames_of_a_resumable_stream_must_be_numbered():
    async def main():
        async with fronted(ScriptedEngine()) as (_, _, stub):
            stream = await opened(stub, resumable=True)
            await stream.frame("a")
            return await stream.answer()

    error = asyncio.run(main())
    assert error.reason == Reason.SEQUENCE_NOT_INCREASING
    assert "numbered" in error.message


def test_a_half_dead_connection_does_not_keep_its_stream():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with (
            fronted(engine) as (front, proxy, stub),
            stub_of(front.address) as direct,
        ):
            stream = await opened(stub, resumable=True)
            await stream.frame("a", 1)
            await engine.has(1)
            proxy.is_stalled = True
            engine.finish(0)
            back = await resumed(direct, stream)
            return await sequences(back, 1)

    assert asyncio.run(main()) == [1]


def test_a_stream_that_ended_without_acknowledging_may_come_back_for_its_answers():
    async def main():
        async with fronted(ScriptedEngine()) as (front, _, stub):
            stream = await opened(stub, resumable=True)
            await stream.frame("a", 1)
            assert len(await stream.rest()) == 1
            await left(front)
            back = await resumed(stub, stream)
            found = await sequences(back, 1)
            await back.send(ack=pb.Ack(sequence=1))
            assert await back.rest() == []
            return found

    assert asyncio.run(main()) == [1]
