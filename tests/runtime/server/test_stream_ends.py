"""How streams begin and end, over a real socket."""

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
from support.fronts import ScriptedEngine, serving_front
from support.streams import ids, streaming, tasks_in, until
from support.wires import error_info, opened, raw_frame, stub_of

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import Reason
from spinert.runtime.server.options import Patience


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


BAD_OPENINGS = {
    "a frame first": (
        pb.StreamRequest(frame=raw_frame()),
        Reason.STREAM_NOT_OPEN,
        grpc.StatusCode.FAILED_PRECONDITION,
    ),
    "nothing": (None, Reason.STREAM_NOT_OPEN, grpc.StatusCode.FAILED_PRECONDITION),
    "resume": (
        pb.StreamRequest(open=pb.Open(resume_token="x")),
        Reason.RESUME_TOKEN_UNKNOWN,
        grpc.StatusCode.FAILED_PRECONDITION,
    ),
    "long device": (
        pb.StreamRequest(open=pb.Open(device="x" * 65)),
        Reason.FIELD_TOO_LONG,
        grpc.StatusCode.INVALID_ARGUMENT,
    ),
    "unknown priority": (
        pb.StreamRequest(open=pb.Open(priority=7)),
        Reason.MALFORMED_MESSAGE,
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
            assert not front.service.streams.connected
            # Only this coroutine and the server's own tasks are left.
            await until(lambda: not tasks_in("/stream.py"))

    asyncio.run(main())


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
