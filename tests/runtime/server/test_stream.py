"""The rules of Stream over a real socket."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from support.fronts import ScriptedEngine, answer_with, serving_front
from support.wires import error_info, opened, raw_frame, stub_of

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import ServerSettings
from spinert.runtime.errors import Overloaded, Reason, UnsupportedFrame
from spinert.runtime.server.options import Patience
from spinert.runtime.server.service import SERVICE


def settings(credit):
    return ServerSettings(listen="127.0.0.1:0", max_frames_in_flight=credit)


@asynccontextmanager
async def streaming(engine, credit=8, **opening):
    async with (
        serving_front(engine, settings(credit)) as front,
        stub_of(front.address) as stub,
    ):
        yield front, await opened(stub, **opening)


def on_stream(script, engine=None, credit=8, **opening):
    """Run `script(stream, engine)` on an open stream."""

    async def main():
        used = engine or ScriptedEngine()
        async with streaming(used, credit, **opening) as (_, stream):
            return await script(stream, used)

    return asyncio.run(main())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


def reasons(answers):
    return [getattr(answer, "reason", "") for answer in answers]


def ids(answers):
    return [answer.frame_id for answer in answers]


def test_every_frame_is_answered_in_order_and_half_close_drains():
    async def script(stream, engine):
        for number in range(1, 6):
            await stream.frame(f"f{number}", number)
        return await stream.rest(), await stream.call.code()

    answers, code = on_stream(script)
    assert ids(answers) == [f"f{n}" for n in range(1, 6)]
    assert [answer.sequence for answer in answers] == [1, 2, 3, 4, 5]
    assert code is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (pb.ORDER_UNSPECIFIED, ["a", "b", "c"]),
        (pb.ORDER_IN_ORDER, ["a", "b", "c"]),
        (pb.ORDER_AS_COMPLETED, ["c", "b", "a"]),
    ],
)
def test_answers_come_in_the_order_asked_for(order, expected):
    async def script(stream, engine):
        for name in "abc":
            await stream.frame(name)
        await engine.has(3)
        for index in (2, 1, 0):
            engine.finish(index)
        return ids(await stream.rest())

    engine = ScriptedEngine(is_held=True)
    assert on_stream(script, engine, order=order) == expected


def test_a_refused_frame_keeps_its_place_in_the_order():
    async def script(stream, engine):
        await stream.frame("slow")
        await engine.has(1)
        await stream.send(frame=pb.Frame(frame_id="empty"))
        await stream.frame("next")
        await engine.has(1)
        engine.finish(1)
        engine.finish(0)
        return await stream.rest()

    answers = on_stream(script, ScriptedEngine(is_held=True))
    assert ids(answers) == ["slow", "empty", "next"]
    assert reasons(answers) == ["", Reason.EMPTY_FRAME, ""]


def test_a_bad_frame_does_not_end_the_stream():
    def outcome(request):
        if request.priority.name == "STAT":
            return UnsupportedFrame(Reason.COLOUR_IMAGE, "send it in grey")
        return answer_with()

    async def script(stream, engine):
        await stream.frame("bad", 1, priority=pb.PRIORITY_STAT)
        await stream.frame("good", 2)
        return await stream.rest()

    bad, good = on_stream(script, ScriptedEngine(outcome))
    assert (bad.reason, bad.sequence) == (Reason.COLOUR_IMAGE, 1)
    assert (bad.code, bad.message) == (3, "send it in grey")
    assert good.verdict.rows == 10


def test_a_frame_refused_for_now_says_when_to_come_back():
    async def script(stream, engine):
        await stream.frame("a")
        return await stream.rest()

    full = ScriptedEngine(refusal=Overloaded(Reason.QUEUE_FULL, "later"))
    [error] = on_stream(script, full)
    assert (error.reason, error.retry_after_ms) == (Reason.QUEUE_FULL, 100)
    assert error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


def test_a_bug_on_one_frame_is_in_band_and_tells_nothing():
    async def script(stream, engine):
        await stream.frame("a")
        return await stream.rest()

    [error] = on_stream(script, ScriptedEngine(ValueError("Doe^Jane")))
    assert error.reason == Reason.INTERNAL
    assert "Doe" not in error.message


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
            [session] = front.service._sessions
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
            [session] = front.service._sessions
            await until(lambda: session._ledger.unsent == 2)
            stream.call.cancel()
            await front.service.idle()
            await until(lambda: not tasks_in("/stream.py"))

    asyncio.run(main())


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


def test_what_is_kept_of_a_refused_frame_is_small():
    """Behind a slow frame, neither a long id nor the pixels may wait their turn."""

    async def main():
        engine = ScriptedEngine(is_held=True)
        async with streaming(engine) as (front, stream):
            await stream.frame("slow")
            await stream.frame("x" * 100_000)
            await stream.frame("b", outputs=[9])
            [session] = front.service._sessions
            await until(lambda: session._ledger.unsent == 3)
            held = list(session._ledger._held.values())
            engine.finish(0)
            await stream.rest()
            return held

    (long_id, first), (_, second) = asyncio.run(main())
    assert long_id.frame_id == ""
    assert [first.reason, second.reason] == [
        Reason.FIELD_TOO_LONG,
        Reason.MALFORMED_MESSAGE,
    ]
    assert not any(isinstance(kept, BaseException) for kept in (first, second))


def test_a_stream_that_never_opens_is_ended():
    async def main():
        hasty = Patience(open_ms=200)
        async with (
            serving_front(ScriptedEngine(), patience=hasty) as front,
            stub_of(front.address) as stub,
        ):
            call = stub.Stream()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            await front.service.idle()
            stream = await opened(stub)
            await asyncio.sleep(0.4)
            await stream.frame("late")
            assert ids(await stream.rest()) == ["late"]
            return caught.value

    error = asyncio.run(main())
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(error).reason == Reason.STREAM_NOT_OPEN


def test_a_cancelled_frame_is_withdrawn_and_answered_once():
    async def script(stream, engine):
        await stream.frame("a")
        await stream.frame("b")
        await engine.has(2)
        await stream.send(cancel=pb.Cancel(frame_id="a"))
        await stream.send(cancel=pb.Cancel(frame_id="unknown"))
        first = await stream.answer()
        engine.finish(1)
        assert engine.futures[0].cancelled()
        return [first, *await stream.rest()]

    answers = on_stream(script, ScriptedEngine(is_held=True))
    assert ids(answers) == ["a", "b"]
    assert reasons(answers) == [Reason.CANCELLED, ""]


def test_ack_is_taken_and_a_second_open_is_refused_in_band():
    async def script(stream, engine):
        await stream.send(ack=pb.Ack(sequence=1))
        await stream.send(open=pb.Open())
        await stream.call.write(pb.StreamRequest())
        await stream.frame("a")
        return reasons(await stream.rest())

    assert on_stream(script) == [
        Reason.STREAM_ALREADY_OPEN,
        Reason.MALFORMED_MESSAGE,
        "",
    ]


def test_bytes_that_are_no_message_are_refused_in_band():
    async def main():
        async with (
            serving_front(ScriptedEngine()) as front,
            grpc.aio.insecure_channel(front.address) as channel,
        ):
            call = channel.stream_stream(
                f"/{SERVICE}/Stream", response_deserializer=pb.StreamReply.FromString
            )()
            await call.write(pb.StreamRequest(open=pb.Open()).SerializeToString())
            await call.write(b"\xff")
            good = pb.StreamRequest(frame=raw_frame("a"))
            await call.write(good.SerializeToString())
            await call.done_writing()
            return [reply async for reply in call]

    replies = asyncio.run(main())
    kinds = [reply.WhichOneof("message") for reply in replies]
    assert [k for k in kinds if k != "credit"] == ["opened", "frame_error", "result"]
    [error] = [r.frame_error for r in replies if r.HasField("frame_error")]
    assert error.reason == Reason.MALFORMED_MESSAGE


BAD_OPENINGS = {
    "a frame first": (
        pb.StreamRequest(frame=raw_frame()),
        Reason.STREAM_NOT_OPEN,
        grpc.StatusCode.FAILED_PRECONDITION,
    ),
    "nothing": (None, Reason.STREAM_NOT_OPEN, grpc.StatusCode.FAILED_PRECONDITION),
    "resume": (
        pb.StreamRequest(open=pb.Open(resume_token="x")),
        Reason.RESUME_UNAVAILABLE,
        grpc.StatusCode.FAILED_PRECONDITION,
    ),
    "long device": (
        pb.StreamRequest(open=pb.Open(device="x" * 65)),
        Reason.FIELD_TOO_LONG,
        grpc.StatusCode.INVALID_ARGUMENT,
    ),
    "unknown order": (
        pb.StreamRequest(open=pb.Open(order=7)),
        Reason.MALFORMED_MESSAGE,
        grpc.StatusCode.INVALID_ARGUMENT,
    ),
}


@pytest.mark.parametrize(
    ("first", "reason", "code"), BAD_OPENINGS.values(), ids=BAD_OPENINGS.keys()
)
def test_a_stream_that_begins_wrongly_ends_with_a_reason(first, reason, code):
    async def main():
        async with (
            serving_front(ScriptedEngine()) as front,
            stub_of(front.address) as stub,
        ):
            call = stub.Stream()
            if first is not None:
                await call.write(first)
            await call.done_writing()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            return caught.value

    error = asyncio.run(main())
    assert (error.code(), error_info(error).reason) == (code, reason)


def test_a_client_that_leaves_frees_everything_it_had():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with streaming(engine) as (front, stream):
            await stream.frame("a")
            await stream.frame("b")
            await engine.has(2)
            stream.call.cancel()
            await front.service.idle()
            await until(lambda: all(f.cancelled() for f in engine.futures))
            assert not front.service._sessions
            # Only this coroutine and the server's own tasks are left.
            await until(lambda: not tasks_in("/stream.py"))

    asyncio.run(main())


def tasks_in(file):
    return [
        task
        for task in asyncio.all_tasks()
        if file in str(getattr(task.get_coro(), "cr_code", ""))
    ]


def test_a_study_is_told_by_its_worst_frame_so_far():
    levels = {"a": 0.2, "b": 0.9, "c": 0.5}

    async def script(stream, engine):
        for number, name in enumerate("abc", 1):
            engine.outcome = answer_with(levels[name])
            await stream.frame(name, number, study_uid="1.2", series_uid=f"1.{name}")
            await engine.has(1)
        await stream.frame("other", 4)
        return await stream.rest()

    *studied, other = on_stream(script)
    told = [
        (r.study.frames, r.study.worst_frame_id, r.study.worst_sequence)
        for r in studied
    ]
    assert told == [(1, "a", 1), (2, "b", 2), (3, "b", 2)]
    assert studied[2].study.abnormal_probability == 0.9
    echoed = [(r.study_uid, r.series_uid) for r in [*studied, other]]
    assert echoed == [("1.2", "1.a"), ("1.2", "1.b"), ("1.2", "1.c"), ("", "")]
    assert not other.HasField("study")


def test_in_order_the_study_counts_the_answers_as_they_are_sent():
    async def script(stream, engine):
        await stream.frame("a", 1, study_uid="1.2")
        await stream.frame("b", 2, study_uid="1.2")
        await engine.has(2)
        engine.finish(1)
        engine.finish(0)
        return [answer.study.frames for answer in await stream.rest()]

    assert on_stream(script, ScriptedEngine(is_held=True)) == [1, 2]


def test_draining_answers_what_is_in_flight_then_ends_the_stream():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with streaming(engine) as (front, stream):
            await stream.frame("kept")
            await engine.has(1)
            await front.drain()
            await stream.frame("late")
            await asyncio.sleep(0.05)
            engine.finish(0)
            kept, late = await stream.answer(), await stream.answer()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.answer()
            return kept, late, caught.value

    kept, late, error = asyncio.run(main())
    assert kept.verdict.rows == 10
    assert late.reason == Reason.SHUTTING_DOWN
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(error).reason == Reason.SHUTTING_DOWN


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


def test_large_frames_arrive_whole():
    pixels = bytes(range(256)) * 8192

    async def script(stream, engine):
        frame = raw_frame("big")
        frame.raw.pixels = pixels
        await stream.send(frame=frame)
        await stream.rest()
        return bytes(engine.requests[0].content.data)

    assert on_stream(script) == pixels


def test_a_server_that_ends_waits_for_its_last_answers_to_be_read():
    engine = ScriptedEngine(is_held=True)

    async def main():
        patient = Patience(farewell_ms=60_000)
        async with AsyncExitStack() as client:
            async with serving_front(engine, patience=patient) as front:
                stub = await client.enter_async_context(stub_of(front.address))
                stream = await opened(stub)
                await stream.frame("last")
                await engine.has(1)
                # By then the server is ending, and nothing but patience keeps it.
                asyncio.get_running_loop().call_later(1.5, engine.finish, 0)
            return await stream.answer()

    assert asyncio.run(main()).frame_id == "last"


def test_a_server_that_ends_does_not_wait_for_ever():
    engine = ScriptedEngine(is_held=True)

    async def main():
        hasty = Patience(farewell_ms=100)
        async with AsyncExitStack() as client:
            async with serving_front(engine, patience=hasty) as front:
                stub = await client.enter_async_context(stub_of(front.address))
                stream = await opened(stub)
                await stream.frame("never answered")
                await engine.has(1)
            with pytest.raises(grpc.aio.AioRpcError):
                await stream.answer()

    asyncio.run(asyncio.wait_for(main(), 30))
    assert engine.futures[0].cancelled()
