"""The client keeps a stream through broken connections."""

import asyncio
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import numpy as np
import pytest
from support.fronts import ScriptedEngine, front_in_a_thread, serving_front
from support.proxies import cutting_proxy

from spinert.runtime.client import (
    AsyncClient,
    Client,
    Frame,
    FrameOptions,
    PixelFormat,
    Priority,
    RequestFailed,
)
from spinert.runtime.config import ServerSettings
from spinert.runtime.errors import Reason

FRAMES = 20
EIGHT_BIT = PixelFormat(bits_stored=8)


def settings(credit=4, **server):
    return ServerSettings(listen="127.0.0.1:0", max_frames_in_flight=credit, **server)


def frame(**options):
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    return Frame.from_array(pixels, EIGHT_BIT, FrameOptions(**options))


@asynccontextmanager
async def proxied(engine, credit=4, **server):
    async with (
        asyncio.timeout(90),  # an answer that never comes must fail a test
        serving_front(engine, settings(credit, **server)) as front,
        cutting_proxy(front.address) as proxy,
        AsyncClient(proxy.address, device="room 1") as client,
    ):
        yield front, proxy, client


async def frames(count):
    for _ in range(count):
        yield frame()


async def cut_stream(setup, way, first, *, every=1, most=1, **options):
    """Cut `first` bytes after a stream is open, then after every `every` more.

    Return the numbers answered, how many frames were computed and how often the
    connection broke.
    """
    engine, proxy, client = setup
    computed, connections = len(engine.requests), proxy.connections

    async def source():
        at = proxy.passed[way] + first
        proxy.cuts[way] = [at + n * every for n in range(most)]
        async for one in frames(FRAMES):
            yield one

    answers = client.stream(source(), resumable=True, **options)
    found = [answer.sequence async for answer in answers]
    proxy.cuts[way] = []
    # The first stream of all makes a connection without one breaking.
    broken = proxy.connections - max(connections, 1)
    return found, len(engine.requests) - computed, broken


def cut_streams(way, cuts, **options):
    """Return what `cut_stream` does for each count of bytes in `cuts`."""

    async def main():
        engine = ScriptedEngine()
        async with proxied(engine) as (_, proxy, client):
            setup = (engine, proxy, client)
            return [await cut_stream(setup, way, cut, **options) for cut in cuts]

    return asyncio.run(main())


@pytest.mark.parametrize(("way", "total"), [("up", 2000), ("down", 6000)])
def test_wherever_the_connection_breaks_every_frame_is_answered_once(way, total):
    """Cut in the middle of frames, of answers, of credit, of acknowledgements."""
    points = range(1, total, total // 30)
    for cut, (found, computed, broken) in zip(
        points, cut_streams(way, points), strict=True
    ):
        assert found == list(range(1, FRAMES + 1)), cut
        assert (computed, broken) == (FRAMES, 1), cut


@pytest.mark.parametrize(("way", "every"), [("up", 487), ("down", 1009)])
def test_a_connection_that_breaks_again_and_again_loses_nothing(way, every):
    [(found, computed, broken)] = cut_streams(way, [every], every=every, most=12)
    assert found == list(range(1, FRAMES + 1))
    assert computed == FRAMES
    assert broken >= 4


def test_as_completed_every_frame_is_answered_once_too():
    [(found, computed, broken)] = cut_streams(
        "down", [500], every=1009, most=5, in_order=False
    )
    assert sorted(found) == list(range(1, FRAMES + 1))
    assert computed == FRAMES
    assert broken >= 3


def test_answers_found_meanwhile_come_after_a_long_break():
    engine = ScriptedEngine(is_held=True)

    async def main():
        async with proxied(engine) as (front, proxy, client):
            answers = client.stream(frames(3), resumable=True)
            first = asyncio.create_task(anext(answers))
            await engine.has(3)
            proxy.is_refusing = True
            proxy.cut()
            while front.service.streams.connected:
                await asyncio.sleep(0.01)
            for index in range(3):
                engine.finish(index)
            await asyncio.sleep(0.3)
            proxy.is_refusing = False
            return [(await first).sequence] + [a.sequence async for a in answers]

    assert asyncio.run(main()) == [1, 2, 3]


def test_after_the_window_the_stream_fails():
    engine = ScriptedEngine(is_held=True)

    async def main():
        async with proxied(engine, resume_window_s=0.3) as (_, proxy, client):
            answers = client.stream(frames(3), resumable=True)
            first = asyncio.create_task(anext(answers))
            await engine.has(3)
            proxy.is_refusing = True
            start_s = time.monotonic()
            proxy.cut()
            with pytest.raises(RequestFailed) as caught:
                await first
            assert time.monotonic() - start_s >= 0.3
            while not all(future.cancelled() for future in engine.futures):
                await asyncio.sleep(0.01)
            return caught.value

    error = asyncio.run(main())
    assert (error.reason, error.status) == ("", grpc.StatusCode.UNAVAILABLE)


def test_frames_without_an_answer_are_sent_again_to_a_server_that_forgot_them():
    engine = ScriptedEngine(is_held=True)

    async def main():
        async with proxied(engine) as (front, proxy, client):
            answers = client.stream(frames(5), resumable=True)
            first = asyncio.create_task(anext(answers))
            await engine.has(4)
            engine.finish(0)
            await first
            front.service.streams._store._kept.clear()
            engine.is_held = False
            proxy.cut()
            return [(await first).sequence] + [a.sequence async for a in answers]

    assert asyncio.run(main()) == [1, 2, 3, 4, 5]
    assert len(engine.requests) == 4 + 4


def test_a_server_that_keeps_no_streams_is_a_typed_error():
    async def main():
        async with proxied(ScriptedEngine(), resume_window_s=0) as (_, _, client):
            with pytest.raises(RequestFailed) as caught:
                await anext(client.stream(frames(1), resumable=True))
            return caught.value

    assert asyncio.run(main()).reason == Reason.RESUME_UNAVAILABLE


def test_a_stream_that_ended_leaves_nothing_to_lose_at_the_server():
    async def main():
        async with proxied(ScriptedEngine()) as (front, _, client):
            answers = client.stream(frames(FRAMES), resumable=True)
            assert len([answer async for answer in answers]) == FRAMES
            kept = front.service.streams._store._kept.values()
            return [stream.session.is_settled for stream in kept]

    assert all(asyncio.run(main()))


def test_a_stream_left_half_way_withdraws_its_frames_at_once():
    engine = ScriptedEngine(is_held=True)

    async def main():
        async with proxied(engine) as (front, _, client):
            answers = client.stream(frames(FRAMES), resumable=True)
            first = asyncio.create_task(anext(answers))
            await engine.has(4)
            engine.finish(0)
            await first
            await answers.aclose()
            assert all(future.done() for future in engine.futures)
            kept = front.service.streams._store._kept.values()
            return [stream.session.is_settled for stream in kept]

    assert asyncio.run(main()) == [True]


def test_answers_that_are_not_taken_stop_the_sending():
    engine = ScriptedEngine()

    async def main():
        async with proxied(engine) as (_, _, client):
            answers = client.stream(frames(FRAMES), resumable=True)
            await anext(answers)
            await asyncio.sleep(0.2)
            # Four may be in flight, and one was taken.
            return len(engine.requests)

    assert asyncio.run(main()) == 5


def test_what_the_source_raises_reaches_the_caller_of_a_resumable_stream():
    async def source():
        yield frame()
        raise OSError("the detector is unplugged")

    async def main():
        async with proxied(ScriptedEngine()) as (_, _, client):
            with pytest.raises(OSError, match="unplugged"):
                async for _ in client.stream(source(), resumable=True):
                    pass

    asyncio.run(main())


def test_a_frame_too_large_for_a_resumable_stream_is_refused_in_its_place():
    def large():
        return Frame.from_array(np.zeros((1200, 1000), np.uint8), EIGHT_BIT)

    async def source():
        for one in (frame(), large(), frame()):
            yield one

    async def main():
        async with proxied(ScriptedEngine(), max_message_mib=1) as (_, _, client):
            answers = client.stream(source(), resumable=True)
            return [(a.sequence, getattr(a, "reason", "")) async for a in answers]

    refused = (2, Reason.MESSAGE_TOO_LARGE)
    assert asyncio.run(main()) == [(1, ""), refused, (3, "")]


def test_the_sync_client_comes_back_too():
    engine = ScriptedEngine()
    with front_in_a_thread(engine, settings()) as front, Client(front.address) as used:
        options = {"resumable": True, "priority": Priority.STAT}
        answers = list(used.stream((frame() for _ in range(9)), **options))
    assert [a.sequence for a in answers] == list(range(1, 10))
    assert {request.priority for request in engine.requests} == {Priority.STAT}


class LockStep:
    """Yields the next frame only once the answer to the one before was taken.

    The first connection breaks within frame 2, on its way to the server.
    """

    def __init__(self, proxy, frames):
        self._proxy, self._frames = proxy, frames
        self._taken = asyncio.Event()

    async def source(self):
        for number, one in enumerate(self._frames, 1):
            if number == 2:
                self._proxy.cuts["up"] = [self._proxy.passed["up"] + 5]
            yield one
            await self._taken.wait()
            self._taken.clear()

    async def answers(self, client):
        found = []
        async for answer in client.stream(self.source(), resumable=True):
            found.append((answer.sequence, getattr(answer, "reason", "")))
            self._taken.set()
        return found


def test_a_lost_frame_is_sent_again_while_the_source_waits_for_its_answer():
    engine = ScriptedEngine()

    async def main():
        async with proxied(engine) as (_, proxy, client):
            found = await LockStep(proxy, [frame()] * 3).answers(client)
            return found, proxy.connections

    assert asyncio.run(main()) == ([(1, ""), (2, ""), (3, "")], 2)
    assert len(engine.requests) == 3


def test_a_lost_frame_is_sent_again_while_one_too_large_waits_for_its_turn():
    engine = ScriptedEngine()
    large = Frame.from_array(np.zeros((1200, 1000), np.uint8), EIGHT_BIT)

    async def main():
        async with proxied(engine, max_message_mib=1) as (_, proxy, client):

            async def source():
                proxy.cuts["up"] = [proxy.passed["up"] + 5]
                for one in (frame(), large, frame()):
                    yield one

            answers = client.stream(source(), resumable=True)
            return [(a.sequence, getattr(a, "reason", "")) async for a in answers]

    refused = (2, Reason.MESSAGE_TOO_LARGE)
    assert asyncio.run(main()) == [(1, ""), refused, (3, "")]
    assert len(engine.requests) == 2


def test_the_sync_client_sends_a_lost_frame_again_while_its_source_waits():
    taken = threading.Semaphore(0)

    def found_by(client, proxy):
        def source():
            for number in range(3):
                taken.acquire(timeout=30)
                if number == 1:
                    proxy.cuts["up"] = [proxy.passed["up"] + 5]
                yield frame()

        for answer in client.stream(source(), resumable=True):
            taken.release()
            yield answer.sequence

    def numbers(proxy):
        taken.release()
        with Client(proxy.address) as client:
            return list(found_by(client, proxy))

    async def main():
        async with proxied(ScriptedEngine()) as (_, proxy, _):
            found = await asyncio.to_thread(numbers, proxy)
            return found, proxy.connections

    assert asyncio.run(main()) == ([1, 2, 3], 2)


@asynccontextmanager
async def restarting(engines):
    """Yield a client, and what replaces its server by the next; the last stays."""
    queue = iter(engines)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(60))
        first = await stack.enter_async_context(AsyncExitStack())
        front = await first.enter_async_context(serving_front(next(queue), settings()))
        proxy = await stack.enter_async_context(cutting_proxy(front.address))
        client = await stack.enter_async_context(AsyncClient(proxy.address))

        async def restart():
            # As SIGTERM has it: what is in flight is finished, the rest refused.
            await front.drain()
            await first.aclose()
            await asyncio.sleep(0.2)
            following = serving_front(next(queue), settings())
            proxy.lead_to((await stack.enter_async_context(following)).address)

        yield client, restart


def test_a_server_that_is_restarted_in_order_costs_no_frame():
    engines = [ScriptedEngine(), ScriptedEngine()]

    async def main():
        async with restarting(engines) as (client, restart):
            found, restarted = [], None
            async for answer in client.stream(frames(FRAMES), resumable=True):
                found.append((answer.sequence, getattr(answer, "reason", "")))
                if len(found) == 5:
                    restarted = asyncio.create_task(restart())
            await restarted
            return found

    assert asyncio.run(main()) == [(n, "") for n in range(1, FRAMES + 1)]
    assert all(engine.requests for engine in engines)


def test_a_frame_refused_by_a_server_that_shuts_down_is_sent_to_the_next():
    engines = [ScriptedEngine(is_held=True), ScriptedEngine()]

    async def main():
        async with restarting(engines) as (client, restart):
            late = asyncio.Event()

            async def source():
                yield frame()
                await late.wait()
                yield frame()

            answers = client.stream(source(), resumable=True)
            first = asyncio.create_task(anext(answers))
            await engines[0].has(1)
            # The stream lives on for the frame in flight; a later one is refused.
            restarted = asyncio.create_task(restart())
            await asyncio.sleep(0.1)
            late.set()
            await asyncio.sleep(0.2)
            engines[0].finish(0)
            found = [await first] + [answer async for answer in answers]
            await restarted
            return [(a.sequence, getattr(a, "reason", "")) for a in found]

    assert asyncio.run(main()) == [(1, ""), (2, "")]
    assert [len(engine.requests) for engine in engines] == [1, 1]


def test_a_server_that_shuts_down_for_good_fails_the_stream_after_the_window():
    async def main():
        async with proxied(ScriptedEngine(), resume_window_s=0.3) as (front, _, client):
            answers = client.stream(frames(FRAMES), resumable=True)
            await anext(answers)
            await front.drain()
            start_s = time.monotonic()
            with pytest.raises(RequestFailed) as caught:
                async for _ in answers:
                    pass
            assert time.monotonic() - start_s >= 0.3
            return caught.value

    assert asyncio.run(main()).status is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("resumable", [False, True])
def test_the_priority_of_a_stream_is_that_of_frames_without_one(resumable):
    engine = ScriptedEngine()

    async def source():
        yield frame()
        yield frame(priority=Priority.ROUTINE)

    async def main():
        async with proxied(engine) as (_, _, client):
            stream = client.stream(
                source(), priority=Priority.STAT, resumable=resumable
            )
            return [answer async for answer in stream]

    asyncio.run(main())
    told = [request.priority for request in engine.requests]
    assert told == [Priority.STAT, Priority.ROUTINE]
