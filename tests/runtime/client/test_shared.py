"""The client's shared memory against a real front."""

import asyncio
import errno
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.fronts import ScriptedEngine, front_in_a_thread, serving_front
from support.proxies import cutting_proxy
from support.threads import threads_since

from spinert.runtime.client import (
    AsyncClient,
    Client,
    Frame,
    FrameOptions,
    PixelFormat,
    RequestFailed,
    SharedMemory,
)
from spinert.runtime.config import ServerSettings
from spinert.runtime.errors import Reason
from spinert.runtime.frame import bytes_of

SHARED = ServerSettings(listen="127.0.0.1:0", shared_memory=True)
TWELVE_BIT = PixelFormat(bits_stored=12)
SMALL = SharedMemory(slots=2, slot_mib=1)


def array(seed, rows=40, columns=50):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4096, (rows, columns), dtype=np.uint16)


def frame(seed, **options):
    return Frame.from_array(array(seed), TWELVE_BIT, FrameOptions(**options))


class ReadingEngine(ScriptedEngine):
    """Fetches the pixels before it answers, as an engine does."""

    def finish(self, index):
        self.pixels = [*getattr(self, "pixels", []), self._fetched(index)]
        super().finish(index)

    def _fetched(self, index):
        data = self.requests[index].content.data
        return isinstance(data, bytes | memoryview), bytes(bytes_of(data))


def with_client(script, engine=None, shared=SMALL, settings=SHARED):
    async def main():
        used = engine or ReadingEngine()
        async with (
            serving_front(used, settings) as front,
            AsyncClient(front.address, shared_memory=shared) as client,
        ):
            await script(client, used, front)
        return used

    return asyncio.run(main())


async def endless(frames):
    for one in frames:
        yield one


def test_a_frame_travels_through_shared_memory():
    async def script(client, engine, front):
        result = await client.analyze(frame(1, frame_id="a"))
        assert result.frame_id == "a"

    engine = with_client(script)
    assert engine.pixels == [(False, array(1).tobytes())]


def test_more_frames_than_slots_are_all_answered_with_their_own_pixels():
    async def script(client, engine, front):
        frames = endless([frame(i) for i in range(11)])
        answers = [a async for a in client.stream(frames)]
        assert [a.sequence for a in answers] == list(range(1, 12))
        await asyncio.gather(*(client.analyze(frame(i)) for i in range(11, 17)))

    engine = with_client(script)
    assert [on_wire for on_wire, _ in engine.pixels] == [False] * 17
    expected = {array(i).tobytes() for i in range(17)}
    assert {pixels for _, pixels in engine.pixels} == expected
    assert [p for _, p in engine.pixels[:11]] == [array(i).tobytes() for i in range(11)]


def test_a_stream_that_is_left_gives_its_slots_back():
    async def script(client, engine, front):
        engine.is_held = True
        for _ in range(3):
            answers = client.stream(endless([frame(1), frame(2)]))
            waiting = asyncio.ensure_future(anext(answers))
            await engine.has(2)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await answers.aclose()
        engine.is_held = False
        await client.analyze(frame(3))

    with_client(script)


def test_a_frame_larger_than_a_slot_travels_in_the_message():
    async def script(client, engine, front):
        large = Frame.from_array(array(5, 1000, 1000), TWELVE_BIT)
        await client.analyze(large)

    engine = with_client(script)
    assert engine.pixels == [(True, array(5, 1000, 1000).tobytes())]


def test_pixels_written_into_a_slot_are_not_copied_into_another():
    async def script(client, engine, front):
        async with client.shared_slot() as first, client.shared_slot() as second:
            assert len(first) == len(second) == 2**20
            # No slot is left to copy into: it must be sent from where it is.
            for memory, seed in ((second, 7), (first, 8)):
                pixels = np.frombuffer(memory, np.uint16, 2000).reshape(40, 50)
                pixels[:] = array(seed)
                async with asyncio.timeout(10):
                    await client.analyze(Frame.from_array(pixels, TWELVE_BIT))

    engine = with_client(script)
    assert [p for _, p in engine.pixels] == [array(7).tobytes(), array(8).tobytes()]


def test_a_server_that_forgot_the_region_is_told_again():
    async def script(client, engine, front):
        await client.analyze(frame(1))
        front.regions.unregister_all()
        await client.analyze(frame(2))
        front.regions.unregister_all()
        answers = [a async for a in client.stream(endless([frame(3)]))]
        assert answers[0].sequence == 1

    engine = with_client(script)
    assert [p for _, p in engine.pixels] == [array(i).tobytes() for i in (1, 2, 3)]


def test_a_server_that_forgot_stream_and_region_is_told_of_both_again():
    engine = ReadingEngine(is_held=True)

    async def main():
        async with (
            asyncio.timeout(60),
            serving_front(engine, SHARED) as front,
            cutting_proxy(front.address) as proxy,
            AsyncClient(proxy.address, shared_memory=SMALL, device="a") as client,
        ):
            answers = client.stream(endless([frame(1), frame(2)]), resumable=True)
            first = asyncio.create_task(anext(answers))
            await engine.has(2)
            front.service.streams._store._kept.clear()
            front.regions.unregister_all()
            engine.is_held = False
            proxy.cut()
            return [await first] + [answer async for answer in answers]

    found = asyncio.run(main())
    assert [type(answer).__name__ for answer in found] == ["Result", "Result"]


def test_a_server_without_shared_memory_is_an_error_and_not_a_detour():
    async def script(client, engine, front):
        with pytest.raises(RequestFailed) as unary:
            await client.analyze(frame(1))
        with pytest.raises(RequestFailed) as streamed:
            await anext(client.stream(endless([frame(1)])))
        reasons = {unary.value.reason, streamed.value.reason}
        assert reasons == {Reason.SHARED_MEMORY_OFF}
        assert not engine.requests

    with_client(script, settings=ServerSettings(listen="127.0.0.1:0"))


def test_the_memory_is_this_users_alone_and_nothing_of_it_stays_behind():
    paths = []

    async def script(client, engine, front):
        await client.analyze(frame(1))
        [span] = front.regions.status()
        paths.append(Path(f"/dev/shm{span.key}"))
        assert paths[0].stat().st_mode & 0o777 == 0o600

    with_client(script)
    assert not paths[0].exists()


def test_leaving_the_client_unregisters_its_memory():
    async def main():
        async with serving_front(ReadingEngine(), SHARED) as front:
            async with AsyncClient(front.address, shared_memory=SMALL) as client:
                await client.analyze(frame(1))
            assert front.regions.status() == ()

    asyncio.run(main())


def test_a_machine_without_that_much_memory_says_so():
    async def main():
        huge = SharedMemory(slots=2**20, slot_mib=2**10)
        async with AsyncClient("127.0.0.1:1", shared_memory=huge):
            pass

    with pytest.raises(OSError, match=r"shared memory|large") as caught:
        asyncio.run(main())
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)


def test_a_client_that_gets_no_memory_leaves_no_channel_open(monkeypatch):
    made, insecure_channel = [], grpc.aio.insecure_channel

    def remembered(*arguments):
        made.append(insecure_channel(*arguments))
        return made[-1]

    monkeypatch.setattr(grpc.aio, "insecure_channel", remembered)

    async def main():
        huge = SharedMemory(slots=2**10, slot_mib=2**20)
        with pytest.raises(OSError, match=r"shared memory|large"):
            await AsyncClient("127.0.0.1:1", shared_memory=huge).__aenter__()
        return [channel.get_state() for channel in made]

    assert asyncio.run(main()) == [grpc.ChannelConnectivity.SHUTDOWN]


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"slot_mib": 0}])
def test_memory_without_room_is_refused(wrong):
    with pytest.raises(ValueError, match="slot"):
        SharedMemory(**wrong)


def test_a_slot_needs_shared_memory():
    with pytest.raises(RuntimeError, match="shared_memory"):
        AsyncClient("127.0.0.1:1").shared_slot()


def test_the_synchronous_client_shares_memory_too():
    engine = ReadingEngine()
    with (
        front_in_a_thread(engine, SHARED) as front,
        Client(front.address, shared_memory=SMALL) as client,
    ):
        client.analyze(frame(1))
        assert len(list(client.stream([frame(2), frame(3), frame(4)]))) == 3
        with client.shared_slot() as memory:
            pixels = np.frombuffer(memory, np.uint16, 2000).reshape(40, 50)
            pixels[:] = array(5)
            client.analyze(Frame.from_array(pixels, TWELVE_BIT))
    assert [p for _, p in engine.pixels] == [array(i).tobytes() for i in range(1, 6)]


def test_a_sync_client_that_cannot_be_entered_leaves_no_thread():
    more_than_there_is = SharedMemory(slots=2**10, slot_mib=2**20)
    before = set(threading.enumerate())
    with (
        pytest.raises(OSError, match=r"shared memory|large"),
        Client("127.0.0.1:1", shared_memory=more_than_there_is),
    ):
        pass
    assert not threads_since(before)
