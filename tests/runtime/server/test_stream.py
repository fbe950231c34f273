"""The rules of Stream over a real socket: frames and their answers."""

import asyncio

import grpc
import pytest
from support.fronts import ScriptedEngine, answer_with, serving_front
from support.streams import ids, on_stream, reasons, streaming, until
from support.wires import raw_frame

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import Overloaded, Reason, UnsupportedFrame
from spinert.runtime.server.service import SERVICE


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


def test_what_is_kept_of_a_refused_frame_is_small():
    """Behind a slow frame, neither a long id nor the pixels may wait their turn."""

    async def main():
        engine = ScriptedEngine(is_held=True)
        async with streaming(engine) as (front, stream):
            await stream.frame("slow")
            await stream.frame("x" * 100_000)
            await stream.frame("b", outputs=[9])
            [session] = front.service.streams.connected
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


def test_large_frames_arrive_whole():
    whole = bytes(range(256)) * 8192

    async def script(stream, engine):
        frame = raw_frame("big")
        frame.raw.pixels = whole
        await stream.send(frame=frame)
        await stream.rest()
        return bytes(engine.requests[0].content.data)

    assert on_stream(script) == whole
