"""Each gRPC option by its effect: gRPC ignores a name it does not know."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import grpc
import psutil
import pytest
from support.fronts import ScriptedEngine, answer_with, serving_front
from support.wires import ROOMY, opened, raw_frame, stub_of

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import ServerSettings
from spinert.runtime.errors import ConfigError, Reason, SetupError
from spinert.runtime.server.options import Patience

SMALL = ServerSettings(listen="127.0.0.1:0", max_message_mib=1)
INFO = pb.GetServerInfoRequest()


def sized(size):
    frame = raw_frame()
    frame.raw.pixels = bytes(size)
    return pb.AnalyzeRequest(frame=frame)


def on_server(script, engine=None, settings=None, patience=None):
    async def main():
        front = serving_front(engine or ScriptedEngine(), settings, patience)
        async with front as front:
            return await script(front.address)

    return asyncio.run(main())


def code_of(error):
    return error.code() if isinstance(error, grpc.RpcError) else None


def test_a_message_over_the_limit_is_refused_and_the_next_one_is_not():
    async def script(address):
        async with stub_of(address) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Analyze(sized(2 * 2**20))
            await stub.Analyze(sized(2**20 - 4096))
            return caught.value

    error = on_server(script, settings=SMALL)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in error.details()
    assert str(2**20) in error.details()


def test_sixty_mebibytes_are_taken_by_default():
    async def script(address):
        async with stub_of(address) as stub:
            return await stub.Analyze(sized(60 * 2**20))

    assert on_server(script).result.verdict.rows == 10


@pytest.mark.parametrize("limit_mib", [1, 6])
def test_the_limit_holds_for_replies_too(limit_mib):
    answer = answer_with()
    many = replace(answer.verdict, findings=answer.verdict.findings * 60_000)
    engine = ScriptedEngine(replace(answer, verdict=many))

    async def script(address):
        async with stub_of(address) as stub:
            reply = stub.Analyze(sized(10))
            return (await asyncio.gather(reply, return_exceptions=True))[0]

    settings = ServerSettings(listen="127.0.0.1:0", max_message_mib=limit_mib)
    reply = on_server(script, engine, settings)
    if limit_mib == 1:
        assert reply.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    else:
        assert len(reply.result.verdict.findings) == 60_000


def test_metadata_has_one_limit_and_nothing_is_left_to_chance():
    async def code(stub, size):
        try:
            await stub.GetServerInfo(INFO, metadata=(("x", "v" * size),))
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async def script(address):
        async with stub_of(address) as stub:
            # Other headers take a part of the 8 KiB, too.
            sizes = (9 * 1024, 7 * 1024)
            return [{await code(stub, size) for _ in range(12)} for size in sizes]

    refused = {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert on_server(script) == [refused, {grpc.StatusCode.OK}]


def test_one_round_trip_carries_a_mebibyte_of_a_stream():
    """The first SETTINGS frame, RFC 9113 section 6.5, tells the window's size."""

    async def script(address):
        reader, writer = await asyncio.open_connection(*address.rsplit(":", 1))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5))
        head = await reader.readexactly(9)
        body = await reader.readexactly(int.from_bytes(head[:3], "big"))
        writer.close()
        return {
            int.from_bytes(body[i : i + 2], "big"): int.from_bytes(
                body[i + 2 : i + 6], "big"
            )
            for i in range(0, len(body), 6)
        }

    initial_window_size = 4
    assert on_server(script)[initial_window_size] == 2**20


def closed_within(connection, seconds):
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


def connect(address):
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)))


def test_a_silent_connection_is_closed():
    async def script(address):
        with connect(address) as silent:
            return await asyncio.to_thread(closed_within, silent, 5)

    assert on_server(script, patience=Patience(handshake_ms=300))


def test_silent_connections_are_bounded_and_do_not_lock_others_out():
    async def script(address):
        silent = [connect(address) for _ in range(300)]
        try:
            early = [
                await asyncio.to_thread(closed_within, s, 0.5) for s in silent[-3:]
            ]
            async with stub_of(address) as stub:
                await stub.GetServerInfo(INFO, wait_for_ready=True, timeout=15)
            return early
        finally:
            for connection in silent:
                connection.close()

    assert all(on_server(script, patience=Patience(handshake_ms=2500)))


def test_connections_are_as_many_as_the_settings_say():
    async def script(address):
        connections = [connect(address) for _ in range(5)]
        try:
            closed = (asyncio.to_thread(closed_within, c, 1) for c in connections)
            return sum(await asyncio.gather(*closed))
        finally:
            for connection in connections:
                connection.close()

    three = ServerSettings(listen="127.0.0.1:0", max_connections=3)
    assert on_server(script, settings=three) == 2
    with pytest.raises(ConfigError, match="max_connections: 1 to 65535"):
        ServerSettings(max_connections=0)


def test_an_idle_connection_is_closed():
    async def script(address):
        async with grpc.aio.insecure_channel(address, ROOMY) as channel:
            await channel.channel_ready()
            state = grpc.ChannelConnectivity.READY
            async with asyncio.timeout(10):
                await channel.wait_for_state_change(state)
            return channel.get_state()

    state = on_server(script, patience=Patience(idle_ms=300))
    assert state is grpc.ChannelConnectivity.IDLE


def test_only_so_many_calls_share_a_connection():
    async def script(address):
        async with stub_of(address) as stub:
            streams = [await opened(stub) for _ in range(32)]
            extra = asyncio.create_task(opened(stub))
            waiting = not (await asyncio.wait({extra}, timeout=0.3))[0]
            streams[0].call.cancel()
            async with asyncio.timeout(5):
                await extra
            return waiting

    assert on_server(script)


PINGING = [
    ("grpc.keepalive_time_ms", 400),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.use_local_subchannel_pool", 1),
]


async def lives_pinging(allowed_ms, with_call):
    patience = Patience(min_client_ping_ms=allowed_ms)
    async with (
        serving_front(ScriptedEngine(), None, patience) as front,
        grpc.aio.insecure_channel(front.address, PINGING) as channel,
    ):
        await channel.channel_ready()
        if with_call:
            call = channel.stream_stream("/spinert.v1.SpineInference/Stream")()
            await call.write(pb.StreamRequest(open=pb.Open()).SerializeToString())
        change = channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        task = asyncio.ensure_future(change)
        done, _ = await asyncio.wait({task}, timeout=6)
        task.cancel()
        return not done


@pytest.mark.slow
def test_clients_may_ping_as_often_as_allowed_with_and_without_a_call():
    """gRPC pings once a second at most and cuts off after the fourth bad one."""

    async def main():
        cases = [(200, True), (200, False), (60_000, True), (60_000, False)]
        return await asyncio.gather(*(lives_pinging(*case) for case in cases))

    assert asyncio.run(main()) == [True, True, False, False]


HALF_OPEN_CLIENT = """
import asyncio, sys
from support.wires import opened, stub_of
async def main():
    async with stub_of(sys.argv[1]) as stub:
        stream = await opened(stub)
        await stream.frame("a")
        print("sent", flush=True)
        await stream.answer()
asyncio.run(main())
"""


def test_a_client_that_stopped_answering_is_found_in_seconds():
    """It hangs after several quiet keepalive intervals, which gRPC limits to two."""
    engine = ScriptedEngine(is_held=True)

    async def script(address):
        command = [sys.executable, "-c", HALF_OPEN_CLIENT, address]
        with subprocess.Popen(
            command, env={"PYTHONPATH": ":".join(sys.path)}
        ) as client:
            try:
                await engine.has(1)
                await asyncio.sleep(1.2)
                assert not engine.futures[0].cancelled()
                client.send_signal(signal.SIGSTOP)
                async with asyncio.timeout(60):
                    while not engine.futures[0].cancelled():
                        await asyncio.sleep(0.05)
            finally:
                client.kill()

    on_server(
        script, engine, patience=Patience(keepalive_ms=300, keepalive_timeout_ms=500)
    )


FLOODED_SERVER = """
import asyncio
from support.fronts import ScriptedEngine, serving_front
from spinert.runtime.config import ServerSettings
async def main():
    settings = ServerSettings(listen="127.0.0.1:0", max_frames_in_flight=1)
    async with serving_front(ScriptedEngine(is_held=True), settings) as front:
        print(front.address, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.slow
def test_a_stream_that_is_flooded_takes_bounded_memory():
    """gRPC's defaults buffer about 33 MiB of a stream that is not being read."""

    async def flood(call, request):
        while True:
            await call.write(request)

    async def main(address, process):
        before = process.memory_info().rss
        async with stub_of(address) as stub:
            frame = raw_frame()
            frame.raw.pixels = bytes(2 * 2**20)
            request = pb.StreamRequest(frame=frame)
            streams = [await opened(stub) for _ in range(8)]
            tasks = [asyncio.create_task(flood(s.call, request)) for s in streams]
            await asyncio.sleep(3)
            after = process.memory_info().rss
            for task in tasks:
                task.cancel()
            for stream in streams:
                stream.call.cancel()
        return (after - before) / 2**20 / len(streams)

    command = [sys.executable, "-c", FLOODED_SERVER]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as server:
        try:
            address = server.stdout.readline().decode().strip()
            grown_mib = asyncio.run(main(address, psutil.Process(server.pid)))
        finally:
            server.kill()
    assert grown_mib < 10


def test_a_second_server_cannot_take_the_port():
    async def script(address):
        taken = ServerSettings(listen=address)
        with pytest.raises(SetupError) as caught:
            async with serving_front(ScriptedEngine(), taken):
                pass
        return caught.value.reason

    assert on_server(script) is Reason.ADDRESS_IN_USE


@pytest.mark.parametrize("listen", ["192.0.2.1:0", "127.0.0.1:x", "nowhere.invalid:1"])
def test_an_address_that_is_not_ours_is_a_configuration_error(listen):
    async def main():
        async with serving_front(ScriptedEngine(), ServerSettings(listen=listen)):
            pass

    with pytest.raises(ConfigError):
        asyncio.run(main())


@pytest.mark.slow
def test_a_stream_outlives_every_timeout_that_is_not_meant_for_it():
    """No max_connection_age: a stream cannot be resumed, so it is never cut."""
    hasty = Patience(handshake_ms=300, idle_ms=300, keepalive_ms=300)

    async def script(address):
        async with stub_of(address) as stub:
            stream = await opened(stub)
            until_s = time.monotonic() + 2
            while time.monotonic() < until_s:
                await asyncio.sleep(0.5)
                await stream.frame()
                assert (await stream.answer()).verdict.rows == 10

    on_server(script, patience=hasty)
