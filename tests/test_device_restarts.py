"""The C++ device example loses nothing where connections and servers come and go."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack

import pytest
from support.devices import (
    LOST,
    SHARED,
    built_device,
    fronted_device,
    left_in_shared_memory,
    start,
    through_a_proxy,
    verdict_of,
)
from support.fronts import ScriptedEngine, serving_front
from support.proxies import cutting_proxy
from support.servers import launched, serving, wait_for_event, write_served_bundle
from support.streams import until
from support.wires import opened, stub_of

from spinert.runtime.engine.refusal import shutting_down

FORGOTTEN = "stream forgotten by the server, opening a new one"


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    return built_device(tmp_path_factory)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_served_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "options"), [(signal.SIGKILL, [SHARED]), (signal.SIGTERM, [])]
)
def test_a_restarted_server_gets_the_frame_again(
    device, bundle, tmp_path, number, options
):
    """The first one ends after it has computed the frame, and nobody has the answer."""
    settings = {"shared_memory": True, "max_regions": 1, "resume_window_s": 120}

    async def restarted(first, cut):
        async with AsyncExitStack() as stack:
            proxy = await stack.enter_async_context(cutting_proxy(first.address))
            proxy.cuts["down"] = [cut]
            running = start(device, proxy, options)
            await until(lambda: proxy.connections)
            proxy.is_refusing = True
            await until(lambda: not proxy.cuts["down"])
            first.process.send_signal(number)
            await asyncio.to_thread(first.process.wait, 30)
            again = settings | {"listen": first.address}
            second = stack.enter_context(launched(bundle, tmp_path, server=again))
            # So that the device meets it while it starts, too.
            await asyncio.to_thread(wait_for_event, second, "listening")
            proxy.is_refusing = False
            return await running

    with serving(bundle, tmp_path, server=settings) as first:
        expected, whole = through_a_proxy(device, first, options=options)
        done = asyncio.run(restarted(first, whole.passed["down"] - 400))
    assert (done.returncode, done.stderr.splitlines()) == (0, [LOST, FORGOTTEN])
    assert verdict_of(done) == verdict_of(expected)
    assert not left_in_shared_memory()


@pytest.mark.slow
def test_a_frame_refused_by_a_server_that_shuts_down_is_sent_to_the_next(device):
    engines = [ScriptedEngine(is_held=True), ScriptedEngine()]

    async def main():
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(60))
            async with serving_front(engines[0]) as front:
                proxy = await stack.enter_async_context(cutting_proxy(front.address))
                running = start(device, proxy, [])
                await engines[0].has(1)
                proxy.is_refusing = True
                await front.drain()
                engines[0].outcome = shutting_down()
                engines[0].finish(0)
            following = await stack.enter_async_context(serving_front(engines[1]))
            proxy.lead_to(following.address)
            proxy.is_refusing = False
            return await running

    done = asyncio.run(main())
    assert (done.returncode, done.stderr.splitlines()) == (0, [LOST, FORGOTTEN])
    assert [len(engine.requests) for engine in engines] == [1, 1]


@pytest.mark.slow
def test_an_answer_is_one_even_where_the_stream_ends_badly_behind_it(device):
    engine = ScriptedEngine(is_held=True)

    async def main():
        async with fronted_device(device, engine) as (front, _, running):
            await engine.has(1)
            await front.drain()
            engine.finish(0)
            return await running

    done = asyncio.run(main())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("decision DECISION_")


@pytest.mark.slow
def test_a_server_that_is_slow_to_greet_is_waited_for(device):
    async def main():
        async with fronted_device(device, ScriptedEngine()) as (_, proxy, running):
            proxy.is_stalled = True
            await until(lambda: proxy.connections)
            await asyncio.sleep(0.5)
            proxy.is_stalled = False
            return await running, proxy.connections

    done, connections = asyncio.run(main())
    assert (done.returncode, done.stderr, connections) == (0, "", 1)


@pytest.mark.slow
def test_it_gives_up_when_the_server_keeps_the_stream_no_longer(device):
    engine = ScriptedEngine(is_held=True)

    async def main():
        context = fronted_device(device, engine, resume_window_s=0.3)
        async with context as (_, proxy, running):
            await engine.has(1)
            proxy.is_refusing = True
            proxy.cut()
            return await running

    done = asyncio.run(main())
    assert done.returncode == 1
    lost, last = done.stderr.splitlines()
    assert lost == LOST
    assert last.startswith("stream ended with code 14")


@pytest.mark.slow
def test_a_frame_that_never_gets_through_is_not_sent_for_ever(device):
    engine = ScriptedEngine()

    async def main():
        context = fronted_device(device, engine, resume_window_s=600)
        async with context as (_, proxy, running):
            proxy.cuts["up"] = [500_000 * count for count in range(1, 20)]
            return await running, proxy.passed["up"]

    done, passed = asyncio.run(main())
    assert (done.returncode, engine.requests) == (1, [])
    assert done.stderr.splitlines()[:-1] == [LOST] * 10
    assert "the frame was sent 10 times" in done.stderr
    assert 5_000_000 < passed < 5_100_000


@pytest.mark.slow
def test_a_server_without_room_is_asked_again_when_it_says(device, monkeypatch):
    engine = ScriptedEngine(is_held=True)
    asked_s = []

    async def main():
        context = fronted_device(device, engine, resume_max_streams=1)
        async with context as (front, proxy, running), stub_of(front.address) as stub:
            await engine.has(1)
            store = front.service.streams._store
            # As if it were another server, full of somebody else's.
            store._kept.clear()
            other = await opened(stub, device="other", resumable=True)
            added = store.add

            def add(session, name):
                asked_s.append(time.monotonic())
                if len(asked_s) == 1:
                    other.call.cancel()
                return added(session, name)

            monkeypatch.setattr(store, "add", add)
            engine.is_held = False
            proxy.cut()
            return await running

    done = asyncio.run(main())
    assert (done.returncode, done.stderr.splitlines()) == (0, [LOST, FORGOTTEN])
    first_s, second_s = asked_s
    assert second_s - first_s >= 1
