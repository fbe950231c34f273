"""Several front processes before one executor."""

import asyncio
import os
import signal
import socket
import threading
from contextlib import suppress

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.fronts import (
    ScriptedEngine,
    answer_with,
    front_in_a_thread,
    serving_front,
)
from support.servers import serving, write_served_bundle
from support.shared_memory import open_files, shared_object
from support.shortages import no_descriptors
from support.wires import error_info, opened, raw_frame, stub_of

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import ServerSettings
from spinert.runtime.errors import ConfigError, Reason, SetupError, UnsupportedFrame
from spinert.runtime.frame import bytes_of

TWO = ServerSettings(listen="127.0.0.1:0", fronts=2, shared_memory=True)


@pytest.fixture(scope="module")
def running():
    engine = ScriptedEngine()
    with front_in_a_thread(engine, TWO) as front:
        yield front, engine


@pytest.fixture
def shared(running):
    """Return a function that runs `script(front, engine)` on a server for all."""
    front, engine = running
    engine.outcome, engine.is_held = answer_with(), False
    engine.requests, engine.futures = [], []
    engine.arrived = threading.Semaphore(0)

    def run(script, **changes):
        vars(engine).update(changes)
        return asyncio.run(script(front, engine))

    return run


def with_fronts(script, engine=None, settings=TWO):
    """Run `script(front, engine)` on a server of its own."""

    async def main():
        used = engine or ScriptedEngine()
        async with serving_front(used, settings) as front:
            return await script(front, used)

    return asyncio.run(main())


def large_frame(frame_id, n_bytes=3_000_000):
    frame = raw_frame(frame_id)
    frame.raw.pixels = bytes(range(250)) * (n_bytes // 250)
    return frame


def fronts():
    """Return the processes that are fronts of this one."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # or a zombie
            if "relay_front" in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


async def until(holds):
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.02)


def test_every_kind_of_call_is_answered_through_every_front(shared):
    async def script(front, engine):
        assert len(fronts()) == 2
        for i in range(8):  # connections are spread by the kernel
            async with stub_of(front.address) as stub:
                await stub.Analyze(pb.AnalyzeRequest(frame=raw_frame("a")))
                info = await stub.GetServerInfo(pb.GetServerInfoRequest())
                assert info.bundle_name == "tiny"
                stream = await opened(stub)
                for sequence in range(1, 5):
                    await stream.frame(f"{i}", sequence)
                    assert (await stream.answer()).sequence == sequence
                assert await stream.rest() == []
        assert {str(r.device)[:9] for r in engine.requests} == {"ipv4:127."}

    shared(script)


def test_a_large_frame_arrives_as_it_was_sent(shared):
    async def script(front, engine):
        frame = large_frame("big")
        async with stub_of(front.address) as stub:
            await stub.Analyze(pb.AnalyzeRequest(frame=frame))
            stream = await opened(stub)
            await stream.send(frame=frame)
            assert (await stream.answer()).frame_id == "big"
        for request in engine.requests:
            assert bytes(request.content.data) == frame.raw.pixels
        assert len(engine.requests) == 2

    shared(script)


def test_a_refusal_carries_its_reason_and_when_to_come_back(shared):
    async def script(front, engine):
        async with stub_of(front.address) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Analyze(pb.AnalyzeRequest(frame=raw_frame("a")))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(caught.value).reason == Reason.COLOUR_IMAGE

    shared(script, outcome=UnsupportedFrame(Reason.COLOUR_IMAGE, "grey"))


def test_an_unknown_method_is_unimplemented(shared):
    async def script(front, engine):
        async with grpc.aio.insecure_channel(front.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/spinert.v1.SpineInference/No")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    shared(script)


def test_a_call_that_the_client_ends_withdraws_its_frame(shared):
    async def script(front, engine):
        async with stub_of(front.address) as stub:
            call = stub.Analyze(pb.AnalyzeRequest(frame=raw_frame("a")))
            await engine.has(1)
            call.cancel()
            late = stub.Analyze(pb.AnalyzeRequest(frame=raw_frame("b")), timeout=0.5)
            await engine.has(1)
            with pytest.raises(grpc.aio.AioRpcError):
                await late
            await until(lambda: all(f.cancelled() for f in engine.futures))
            stream = await opened(stub)
            await stream.frame("c")
            await engine.has(1)
            stream.call.cancel()
            await until(engine.futures[2].cancelled)
        assert engine.requests[1].deadline_s is not None

    shared(script, is_held=True)


def test_the_end_of_a_front_costs_its_calls_and_another_takes_its_place():
    others = fronts()

    async def script(front, engine):
        before = fronts() - others
        async with stub_of(front.address) as stub:
            call = stub.Analyze(pb.AnalyzeRequest(frame=raw_frame("a")))
            await engine.has(1)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await until(engine.futures[0].cancelled)
        await until(lambda: len(fronts() - before - others) == 2)
        engine.is_held = False
        async with stub_of(front.address) as stub:
            await stub.Analyze(
                pb.AnalyzeRequest(frame=raw_frame("b")), wait_for_ready=True, timeout=30
            )

    with_fronts(script, ScriptedEngine(is_held=True))
    assert fronts() == others


def test_a_shortage_of_open_files_ends_the_call_and_no_frame_is_lost_in_it(shared):
    async def script(front, engine):
        async with stub_of(front.address) as stub:
            stream = await opened(stub)
            await stream.frame("small")
            assert (await stream.answer()).frame_id == "small"
            with no_descriptors():
                await stream.send(frame=large_frame("large"))
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stream.answer()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert error_info(caught.value).reason == Reason.NOT_READY
            await stub.Analyze(pb.AnalyzeRequest(frame=large_frame("again")))
        sizes = [len(request.content.data) for request in engine.requests]
        assert sizes == [len(raw_frame("a").raw.pixels), 3_000_000]

    shared(script)


def test_a_stream_ends_in_order_when_the_server_does():
    async def script(front, engine):
        async with stub_of(front.address) as stub:
            stream = await opened(stub)
            await stream.frame("a")
            await engine.has(1)
            await front.drain()
            engine.finish(0)
            assert (await stream.answer()).frame_id == "a"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.answer()
            assert error_info(caught.value).reason == Reason.SHUTTING_DOWN

    with_fronts(script, ScriptedEngine(is_held=True))


def test_health_is_told_and_watched_through_a_front():
    async def script(front, engine):
        async with grpc.aio.insecure_channel(front.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest()
            assert (await stub.Check(request)).status == 1
            watch = stub.Watch(request)
            assert (await watch.read()).status == 1
            await front.drain()
            assert (await watch.read()).status == 2
            watch.cancel()

    with_fronts(script)


def test_a_frame_in_shared_memory_never_passes_through_a_front(shared):
    async def script(front, engine):
        with shared_object(b"0123456789") as memory:
            async with stub_of(front.address) as stub:
                await stub.RegisterRegion(
                    pb.RegisterRegionRequest(region="r", key=memory.key, length=10)
                )
            frame = raw_frame("a")
            frame.raw.pixels = b""
            frame.shared.CopyFrom(pb.SharedBytes(region="r", offset=2, length=6))
            async with stub_of(front.address) as stub:
                await stub.Analyze(pb.AnalyzeRequest(frame=frame))
            assert bytes_of(engine.requests[0].content.data) == b"234567"

    shared(script)


def test_a_port_is_not_shared_with_another_server(shared):
    async def script(front, engine):
        taken = ServerSettings(listen=front.address, fronts=2)
        with pytest.raises(SetupError) as caught:
            async with serving_front(engine, taken):
                pass
        assert caught.value.reason is Reason.ADDRESS_IN_USE
        host, port = front.address.split(":")
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((host, int(port)))

    shared(script)


@pytest.mark.parametrize(
    "wrong",
    [{"fronts": 0}, {"listen": "unix:/run/s", "fronts": 2}, {"reflection": True}],
)
def test_settings_that_several_fronts_cannot_serve_are_refused(wrong):
    with pytest.raises(ConfigError, match="fronts"):
        ServerSettings(**({"fronts": 2} | wrong))


def test_calls_leave_no_descriptor_behind(shared):
    async def script(front, engine):
        async with stub_of(front.address) as stub:
            await stub.Analyze(pb.AnalyzeRequest(frame=large_frame("a")))
            engine.requests.clear()
            engine.futures.clear()
            before = open_files()
            for _ in range(100):
                await stub.Analyze(pb.AnalyzeRequest(frame=large_frame("a", 50_000)))
            engine.requests.clear()
            engine.futures.clear()
            await until(lambda: open_files() <= before)

    shared(script)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_fronts_end_with_their_server(tmp_path, number):
    bundle = write_served_bundle(tmp_path / "bundle")
    two = {"listen": "127.0.0.1:0", "fronts": 2}

    async def script(address):
        async with stub_of(address) as stub:
            return await stub.GetServerInfo(pb.GetServerInfoRequest())

    others = fronts()
    with serving(bundle, tmp_path / "work", server=two) as server:
        assert asyncio.run(script(server.address)).runtime_version
        children = [psutil.Process(pid) for pid in fronts() - others]
        assert len(children) == 2
        server.process.send_signal(number)
        server.process.wait(30)
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive
        assert server.process.returncode == (0 if number is signal.SIGTERM else -9)
