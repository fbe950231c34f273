"""The public client against a real front."""

import asyncio
import os
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import grpc
import numpy as np
import pytest
from support.engines import GatedBackend, running_engine, tiny_bundle
from support.fronts import (
    ScriptedEngine,
    answer_with,
    front_in_a_thread,
    identity,
    serving_front,
)
from support.proxies import cutting_proxy

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client import (
    AsyncClient,
    Client,
    Frame,
    FrameOptions,
    FrameRefusal,
    Output,
    PixelFormat,
    Priority,
    RequestFailed,
)
from spinert.runtime.client.errors import failure_from_rpc_error
from spinert.runtime.config import EngineSettings, ServerSettings, Settings
from spinert.runtime.errors import Overloaded, Reason, UnsupportedFrame
from spinert.runtime.server.front import Front
from spinert.runtime.server.service import limits_from_settings
from spinert.runtime.server.stream import Serving

SMALL = ServerSettings(listen="127.0.0.1:0", max_message_mib=1)
TWELVE_BIT = PixelFormat(bits_stored=12)


def frame(rows=4, columns=5, **options):
    pixels = np.arange(rows * columns, dtype=np.uint16).reshape(rows, columns)
    return Frame.from_array(pixels, TWELVE_BIT, FrameOptions(**options))


def with_client(script, engine=None, settings=None, **client):
    """Run `script(client)` against a front over `engine`."""

    async def main():
        front = serving_front(engine or ScriptedEngine(), settings)
        async with front as front, AsyncClient(front.address, **client) as used:
            return await script(used)

    return asyncio.run(main())


async def collected(answers):
    return [answer async for answer in answers]


async def several(*frames):
    for one in frames:
        yield one


# --------------------------------------------------------------------- analyze


def test_everything_of_a_frame_arrives():
    engine = ScriptedEngine()
    options = {
        "frame_id": "left",
        "study_uid": "1.2",
        "priority": Priority.STAT,
        "outputs": frozenset({Output.FINDINGS}),
        "timeout_ms": 9000,
    }

    async def script(client):
        return await client.analyze(frame(3, 2, **options))

    result = with_client(script, engine, device="room 1")
    [request] = engine.requests
    content = request.content
    assert (result.frame_id, result.study.study_uid) == ("left", "1.2")
    assert (content.rows, content.columns, content.bits_stored) == (3, 2, 12)
    assert bytes(content.data) == np.arange(6, dtype="<u2").tobytes()
    assert (request.device, request.priority) == ("room 1", Priority.STAT)
    assert request.outputs == {Output.FINDINGS}
    assert request.deadline_s is not None


def test_a_refused_frame_raises_with_reason_and_status():
    refused = UnsupportedFrame(Reason.COLOUR_IMAGE, "send it in grey")

    async def script(client):
        with pytest.raises(RequestFailed) as caught:
            await client.analyze(frame())
        return caught.value

    error = with_client(script, ScriptedEngine(refused))
    assert (error.reason, error.message) == ("COLOUR_IMAGE", "send it in grey")
    assert error.status is grpc.StatusCode.INVALID_ARGUMENT
    assert error.retry_after_ms == 0


class RecoveringEngine(ScriptedEngine):
    """Refuses the first two frames and answers then."""

    def submit(self, request):
        if len(self.requests) < 2:
            self.requests.append(request)
            raise self.refusal
        self.refusal = None
        return super().submit(request)

    def finish(self, index):
        self.futures[index].set_result(self.outcome)


@pytest.mark.parametrize("size", [4, 1000], ids=["small", "2 MB"])
def test_an_overloaded_server_is_asked_again_after_its_pushback(size):
    """gRPC's default retry buffer would switch retries of the large one off."""
    engine = RecoveringEngine(refusal=Overloaded(Reason.QUEUE_FULL, "later"))

    async def script(client):
        start_s = time.monotonic()
        result = await client.analyze(frame(size, 1000))
        return result.verdict.rows, time.monotonic() - start_s

    rows, took_s = with_client(script, engine)
    assert (rows, len(engine.requests)) == (10, 3)
    assert took_s >= 2 * Overloaded.retry_after_ms / 1000


def test_a_server_that_stays_overloaded_is_given_up():
    full = ScriptedEngine(refusal=Overloaded(Reason.QUEUE_FULL, "later"))

    async def script(client):
        with pytest.raises(RequestFailed) as caught:
            await client.analyze(frame())
        return caught.value

    error = with_client(script, full)
    assert (error.reason, error.retry_after_ms) == (Reason.QUEUE_FULL, 100)


def test_a_frame_that_is_too_large_is_not_sent():
    engine = ScriptedEngine()

    async def script(client):
        with pytest.raises(RequestFailed) as caught:
            await client.analyze(frame(1000, 1000))
        return caught.value

    error = with_client(script, engine, max_message_mib=1)
    assert error.reason == Reason.MESSAGE_TOO_LARGE
    assert error.status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(2**20) in error.message
    assert not engine.requests


def test_a_frame_over_the_limit_of_the_server_alone_has_the_same_reason():
    async def script(client):
        with pytest.raises(RequestFailed) as caught:
            await client.analyze(frame(1000, 1000))
        return caught.value

    error = with_client(script, settings=SMALL)
    assert error.reason == Reason.MESSAGE_TOO_LARGE
    assert error.status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"bytes and {2**20} are allowed: compress it" in error.message
    assert "server.max_message_mib" in error.message


def test_an_answer_over_the_limit_of_the_client_has_the_same_reason():
    many = answer_with()
    many = replace(
        many, verdict=replace(many.verdict, findings=many.verdict.findings * 60_000)
    )

    async def script(client):
        with pytest.raises(RequestFailed) as caught:
            await client.analyze(frame())
        return caught.value

    error = with_client(script, ScriptedEngine(many), max_message_mib=1)
    assert error.reason == Reason.MESSAGE_TOO_LARGE
    assert error.message.startswith("the answer makes a message of ")
    assert f"bytes and {2**20} are allowed: raise " in error.message


def test_a_frame_over_the_limit_that_the_server_told_is_not_sent():
    async def script(client):
        await client.server_info()
        calls = []
        client._analyze = calls.append
        with pytest.raises(RequestFailed, match=f"and {2**20} are allowed"):
            await client.analyze(frame(1000, 1000))
        return calls

    assert with_client(script, settings=SMALL) == []


def test_what_would_be_refused_again_is_sent_once():
    asked = []

    def refusing(request):
        asked.append(request)
        error = Overloaded(Reason.DEADLINE_UNREACHABLE, "allow more time")
        error.retry_after_ms = 0
        return error

    async def script(client):
        with pytest.raises(RequestFailed) as caught:
            await client.analyze(frame())
        return caught.value.retry_after_ms

    assert with_client(script, ScriptedEngine(refusing)) == 0
    assert len(asked) == 1


def test_time_is_limited():
    async def script(client):
        with pytest.raises(RequestFailed) as caught:
            await client.analyze(frame(), timeout_s=0.1)
        return caught.value

    error = with_client(script, ScriptedEngine(is_held=True))
    assert error.status is grpc.StatusCode.DEADLINE_EXCEEDED


def test_no_server_is_a_failure_without_a_reason():
    async def main():
        async with AsyncClient("127.0.0.1:1") as client:
            with pytest.raises(RequestFailed) as caught:
                await client.wait_ready(0.3)
            return caught.value

    error = asyncio.run(main())
    assert (error.reason, error.status) == ("", grpc.StatusCode.UNAVAILABLE)


def test_a_server_that_is_not_ready_is_waited_for():
    settings = ServerSettings(listen="127.0.0.1:0")
    serving = Serving(engine=ScriptedEngine(), identity=identity, clock=time.monotonic)

    async def main():
        limits = limits_from_settings(Settings(server=settings))
        async with (
            Front(settings, limits) as front,
            AsyncClient(front.address) as client,
        ):
            waiting = asyncio.create_task(client.wait_ready(20))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await front.serve(serving)
            return await waiting

    assert asyncio.run(main()).bundle_name == "tiny"


# ---------------------------------------------------------------------- stream


def test_a_stream_answers_every_frame_in_order():
    async def script(client):
        frames = several(*(frame() for _ in range(50)))
        return await collected(client.stream(frames))

    answers = with_client(script)
    assert [a.frame_id for a in answers] == [str(n) for n in range(1, 51)]
    assert [a.sequence for a in answers] == list(range(1, 51))


def test_a_refused_frame_is_an_answer_and_the_stream_goes_on():
    def outcome(request):
        refused = request.priority is Priority.STAT
        return (
            UnsupportedFrame(Reason.FOR_PROCESSING, "no") if refused else answer_with()
        )

    async def script(client):
        frames = several(frame(frame_id="x", priority=Priority.STAT), frame())
        return await collected(client.stream(frames))

    refusal, result = with_client(script, ScriptedEngine(outcome))
    assert refusal == FrameRefusal(
        frame_id="x",
        sequence=1,
        reason="FOR_PROCESSING",
        message="no",
        status=grpc.StatusCode.INVALID_ARGUMENT,
    )
    assert result.verdict.rows == 10


def test_a_frame_too_large_for_the_stream_is_refused_in_its_place():
    async def script(client):
        frames = several(frame(), frame(1000, 1000), frame())
        return await collected(client.stream(frames))

    answers = with_client(script, settings=SMALL)
    assert [getattr(a, "reason", "") for a in answers] == ["", "MESSAGE_TOO_LARGE", ""]
    assert [a.sequence for a in answers] == [1, 2, 3]


@pytest.mark.parametrize(("asked", "most"), [(None, 16), (3, 3), (99, 16)])
def test_frames_are_taken_from_the_source_only_when_they_may_be_sent(asked, most):
    engine = ScriptedEngine(is_held=True)
    taken = []

    async def source():
        for number in range(100):
            taken.append(number)
            yield frame()

    async def script(client):
        answers = client.stream(source(), max_in_flight=asked)
        first = asyncio.create_task(anext(answers))
        await engine.has(most)
        await asyncio.sleep(0.05)
        assert len(taken) == most
        # Credit comes back for a quarter of it at a time.
        some = min(4, most)
        for index in range(some):
            engine.finish(index)
        await first
        for _ in range(some - 1):
            await anext(answers)
        await engine.has(some)
        assert len(taken) == most + some
        await answers.aclose()
        while not all(future.cancelled() for future in engine.futures[some:]):
            await asyncio.sleep(0.01)

    with_client(script, engine)


@pytest.mark.parametrize("resumable", [False, True])
def test_no_frame_in_flight_is_no_way_to_stream(resumable):
    async def script(client):
        answers = client.stream(several(frame()), max_in_flight=0, resumable=resumable)
        with pytest.raises(ValueError, match="at least 1"):
            await anext(answers)

    with_client(script)


def test_as_completed_answers_overtake():
    engine = ScriptedEngine(is_held=True)

    async def script(client):
        answers = client.stream(several(frame(), frame()), in_order=False)
        first = asyncio.create_task(anext(answers))
        await engine.has(2)
        engine.finish(1)
        early = await first
        engine.finish(0)
        return [early.sequence, (await anext(answers)).sequence]

    assert with_client(script, engine) == [2, 1]


def test_what_the_source_raises_reaches_the_caller():
    async def source():
        yield frame()
        raise OSError("the detector is unplugged")

    async def script(client):
        with pytest.raises(OSError, match="unplugged"):
            await collected(client.stream(source()))

    with_client(script)


def test_a_server_far_away_is_waited_for():
    async def main():
        async with (
            serving_front(ScriptedEngine()) as front,
            cutting_proxy(front.address) as proxy,
            AsyncClient(proxy.address) as client,
        ):
            proxy.is_stalled = True
            answers = asyncio.create_task(collected(client.stream(several(frame()))))
            while not proxy.connections:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
            proxy.is_stalled = False
            return len(await answers), proxy.connections

    assert asyncio.run(main()) == (1, 1)


def test_a_stream_that_breaks_says_why():
    async def script(client):
        with pytest.raises(RequestFailed) as caught:
            await collected(client.stream(several(frame())))
        return caught.value

    error = with_client(script, device="x" * 65)
    assert error.reason == Reason.FIELD_TOO_LONG


def test_a_stream_that_ends_while_a_frame_is_written_is_a_server_that_left():
    """grpc.aio hides the server's status then, and calls it an internal error."""
    lost = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL, None, None, "Internal error from Core"
    )
    failure = failure_from_rpc_error(lost)
    assert failure.status is grpc.StatusCode.UNAVAILABLE
    assert "ended the stream" in failure.message


def test_a_message_that_is_too_large_once_inflated_is_too_large():
    refused = grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        None,
        None,
        "CLIENT: Decompressed message larger than max",
    )
    assert failure_from_rpc_error(refused).reason == Reason.MESSAGE_TOO_LARGE


@pytest.mark.parametrize("limit", ["max_frames_per_device", "max_frames"])
def test_a_client_that_obeys_credit_and_is_alone_is_never_refused(tmp_path, limit):
    settings = Settings(
        server=ServerSettings(listen="127.0.0.1:0"),
        engine=EngineSettings(max_batch=1, prepare_threads=1, **{limit: 3}),
    )
    backend = GatedBackend()
    bundle = tiny_bundle(tmp_path)

    async def main(engine):
        limits = limits_from_settings(settings)
        serving = Serving(engine=engine, identity=identity, clock=time.monotonic)
        async with Front(settings.server, limits) as front:
            await front.serve(serving)
            async with AsyncClient(front.address) as client:
                frames = several(*(frame(80, 64) for _ in range(40)))
                return await collected(client.stream(frames))

    limits = {"max_batch": 1, limit: 3}
    with running_engine(bundle, backend, clock=time.monotonic, **limits) as engine:
        answers = asyncio.run(main(engine))
    assert [getattr(answer, "reason", "") for answer in answers] == [""] * 40


# ------------------------------------------------------------------------ sync


def test_the_sync_client_does_the_same():
    with front_in_a_thread(ScriptedEngine()) as front, Client(front.address) as client:
        assert client.wait_ready(10).bundle_name == client.server_info().bundle_name
        assert client.analyze(frame(frame_id="a")).frame_id == "a"
        answers = list(client.stream(frame() for _ in range(20)))
        assert [a.sequence for a in answers] == list(range(1, 21))


def test_the_sync_client_raises_what_its_source_raises():
    def source():
        yield frame()
        raise OSError("the detector is unplugged")

    with (
        front_in_a_thread(ScriptedEngine()) as front,
        Client(front.address) as client,
        pytest.raises(OSError, match="unplugged"),
    ):
        list(client.stream(source()))


def test_a_sync_stream_may_be_left_half_way():
    engine = ScriptedEngine()
    with front_in_a_thread(engine) as front, Client(front.address) as client:
        answers = client.stream(frame() for _ in range(1000))
        assert next(answers).sequence == 1
        answers.close()
        assert len(engine.requests) < 100
        assert client.analyze(frame()).verdict.rows == 10


def test_a_client_may_be_used_from_several_threads():
    with front_in_a_thread(ScriptedEngine()) as front, Client(front.address) as client:
        found = []
        threads = [
            threading.Thread(
                target=lambda n: found.append(client.analyze(frame(frame_id=n))),
                args=(str(number),),
            )
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(r.frame_id for r in found) == [str(n) for n in range(8)]


def test_a_decision_has_a_name():
    with front_in_a_thread(ScriptedEngine()) as front, Client(front.address) as client:
        decision = client.analyze(frame()).verdict.decision
    assert pb.Decision.Name(decision) == "DECISION_ABNORMAL"


@contextmanager
def interrupted_once(condition):
    """Press Ctrl-C as soon as `condition` holds."""

    def press():
        while not condition():
            time.sleep(0.01)
        time.sleep(0.2)  # by now the main thread waits
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    # Jobs started in the background inherit that Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_a_sync_stream_that_waits_for_an_answer():
    engine = ScriptedEngine(is_held=True)
    with front_in_a_thread(engine) as front, Client(front.address) as client:
        with (
            pytest.raises(KeyboardInterrupt),
            interrupted_once(lambda: len(engine.futures) == 3),
        ):
            list(client.stream(frame() for _ in range(3)))
        while not all(future.cancelled() for future in engine.futures):
            time.sleep(0.01)
        engine.is_held = False
        assert client.analyze(frame()).verdict.rows == 10


def test_ctrl_c_does_not_wait_for_a_source_that_waits():
    engine, unplugged = ScriptedEngine(), threading.Event()

    def source():
        yield frame()
        unplugged.wait()

    with front_in_a_thread(engine) as front, Client(front.address) as client:
        answers = client.stream(source())
        next(answers)
        with (
            pytest.raises(KeyboardInterrupt),
            interrupted_once(lambda: True),
        ):
            next(answers)
    unplugged.set()
