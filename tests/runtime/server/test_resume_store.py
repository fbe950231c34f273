"""Which streams a server keeps, for whom and for how long, over real sockets."""

import asyncio

import grpc
import pytest
from support.fronts import ScriptedEngine
from support.streams import failure, fronted, left, resumed, sequences, until
from support.wires import error_info, opened

from spinert.runtime.errors import Reason


def test_a_token_in_use_takes_the_stream_over():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with fronted(engine) as (front, _, stub):
            stream = await opened(stub, resumable=True)
            await stream.frame("a", 1)
            await engine.has(1)
            back = await resumed(stub, stream)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.answer()
            engine.finish(0)
            found = await sequences(back, 1)
            assert len(front.service.streams.connected) == 1
            return caught.value, found

    error, found = asyncio.run(main())
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(error).reason == Reason.STREAM_TAKEN_OVER
    assert found == [1]


TOKENS = {
    "made up": lambda token: ("x.y", "room 1"),
    "nothing": lambda token: (".", "room 1"),
    "another secret": lambda token: (token[:-1] + "~", "room 1"),
    "name alone": lambda token: (token.partition(".")[0], "room 1"),
    "another device": lambda token: (token, "room 2"),
    "no device": lambda token: (token, ""),
}


@pytest.mark.parametrize("wrong", TOKENS.values(), ids=TOKENS.keys())
def test_a_token_that_is_not_known_is_refused_and_the_stream_stays(wrong):
    async def main():
        async with fronted(ScriptedEngine()) as (front, proxy, stub):
            stream = await opened(stub, resumable=True, device="room 1")
            await stream.frame("a", 1)
            await sequences(stream, 1)
            token, device = wrong(stream.opened.resume_token)
            error = await failure(stub, resume_token=token, device=device)
            proxy.cut()
            await left(front)
            back = await resumed(stub, stream, device="room 1")
            return error, await sequences(back, 1)

    error, found = asyncio.run(main())
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(error).reason == Reason.RESUME_TOKEN_UNKNOWN
    assert found == [1]


@pytest.mark.parametrize("opening", [{"resumable": True}, {"resume_token": "x.y"}])
def test_a_server_that_keeps_no_streams_says_so(opening):
    async def main():
        async with fronted(ScriptedEngine(), resume_window_s=0) as (_, _, stub):
            return await failure(stub, **opening)

    assert error_info(asyncio.run(main())).reason == Reason.RESUME_UNAVAILABLE


def test_after_the_window_everything_is_withdrawn_and_forgotten():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with fronted(engine, resume_window_s=0.2) as (front, proxy, stub):
            stream = await opened(stub, resumable=True)
            await stream.frame("a", 1)
            await engine.has(1)
            proxy.cut()
            await until(lambda: not front.service.streams.resumable)
            assert engine.futures[0].cancelled()
            token = stream.opened.resume_token
            return await failure(stub, resume_token=token)

    assert error_info(asyncio.run(main())).reason == Reason.RESUME_TOKEN_UNKNOWN


def test_a_resumed_stream_is_not_forgotten_when_the_first_window_ends():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with fronted(engine, resume_window_s=0.3) as (front, proxy, stub):
            stream = await opened(stub, resumable=True)
            await stream.frame("a", 1)
            await engine.has(1)
            proxy.cut()
            await left(front)
            back = await resumed(stub, stream)
            await asyncio.sleep(0.5)
            engine.finish(0)
            return await sequences(back, 1)

    assert asyncio.run(main()) == [1]


def test_only_so_many_streams_are_kept_and_idle_ones_make_room():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with fronted(engine, resume_max_streams=2) as (front, proxy, stub):
            busy = await opened(stub, resumable=True, device="one")
            await busy.frame("a", 1)
            await engine.has(1)
            idle = await opened(stub, resumable=True)
            full = await failure(stub, resumable=True)
            proxy.cut()
            await left(front)
            await opened(stub, resumable=True)
            gone = await failure(stub, resume_token=idle.opened.resume_token)
            again = await failure(stub, resumable=True)
            kept = await resumed(stub, busy, device="one")
            engine.finish(0)
            return full, gone, again, await sequences(kept, 1)

    *errors, found = asyncio.run(main())
    assert [error_info(error).reason for error in errors] == [
        Reason.RESUME_STREAMS_FULL,
        Reason.RESUME_TOKEN_UNKNOWN,
        Reason.RESUME_STREAMS_FULL,
    ]
    assert errors[0].code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert found == [1]


def test_draining_ends_resumable_streams_like_others():
    async def main():
        engine = ScriptedEngine(is_held=True)
        async with fronted(engine) as (front, proxy, stub):
            lost = await opened(stub, resumable=True)
            await lost.frame("lost", 1)
            await engine.has(1)
            proxy.cut()
            await left(front)
            stream = await opened(stub, resumable=True)
            await stream.frame("kept", 1)
            await engine.has(1)
            await front.drain()
            assert engine.futures[0].cancelled()
            engine.finish(1)
            kept = await stream.answer()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.answer()
            await left(front)
            return kept, error_info(caught.value), front.service.streams.resumable

    kept, info, streams = asyncio.run(main())
    assert (kept.frame_id, info.reason, streams) == ("kept", Reason.SHUTTING_DOWN, 0)
