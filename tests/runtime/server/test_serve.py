"""The life of a server process, from bundle to exit code."""

import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.bundles import write_tiny_bundle
from support.golden import write_onnx_golden_bundle
from support.servers import launched, serving, wait_for_event, write_served_bundle

from spinert.runtime.client import (
    Client,
    Frame,
    PixelFormat,
    RequestFailed,
)
from spinert.runtime.errors import Reason


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_served_bundle(tmp_path_factory.mktemp("bundle"))


def frame():
    pixels = np.arange(80 * 90, dtype=np.uint16).reshape(80, 90) % 4096
    return Frame.from_array(pixels, PixelFormat(bits_stored=12))


def names(server):
    return [entry["event"] for entry in server.events()]


def test_it_proves_itself_serves_and_exits_with_0(bundle, tmp_path):
    with serving(bundle, tmp_path) as server:
        with Client(server.address) as client:
            result = client.analyze(frame())
            info = client.server_info()
        assert server.stop() == 0
    assert result.verdict.rows == 80
    assert {m.name for m in result.verdict.members} == {"first", "second"}
    assert result.provenance.bundle_sha256 == info.bundle_sha256
    assert result.provenance.notice == "for tests only"
    assert [n.role for n in info.networks] == ["classifier", "detector"]
    events = names(server)
    assert events.index("gate_passed") < events.index("ready")
    assert events[0] == "starting"
    assert events[-1] == "stopped"
    assert "not a medical device" in server.events()[0]["notice"]


def test_a_certificate_shortens_the_next_start(bundle, tmp_path):
    for expected in ("gate_passed", "golden_frame_passed"):
        with serving(bundle, tmp_path) as server:
            assert expected in names(server)


def test_a_bundle_that_fails_its_golden_set_is_never_served(tmp_path):
    directory = write_served_bundle(tmp_path / "bundle")
    spec_path = directory / "bundle.json"
    spec = json.loads(spec_path.read_text())
    spec["golden"]["frames"][0]["networks"]["classifier"]["input_sha256"] = "0" * 64
    spec_path.write_text(json.dumps(spec))
    with launched(directory, tmp_path / "work") as server:
        assert server.process.wait(30) not in (0, None)
    log = server.log.read_text()
    assert '"event": "ready"' not in log
    assert "GOLDEN_SET_FAILED" in log


def test_a_bundle_without_golden_frames_is_never_served(tmp_path):
    (tmp_path / "bundle").mkdir()
    directory = write_tiny_bundle(tmp_path / "bundle")
    with launched(directory, tmp_path / "work") as server:
        assert server.process.wait(30) not in (0, None)


def test_while_it_proves_itself_it_says_not_serving(tmp_path):
    bundle = write_served_bundle(tmp_path / "bundle", cost_ms=300)
    with launched(bundle, tmp_path / "work") as server:
        address = wait_for_event(server, "listening")["address"]
        with grpc.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            reply = stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING
        with Client(address) as client:
            with pytest.raises(RequestFailed) as caught:
                client.server_info()
            assert caught.value.reason == Reason.NOT_READY
            client.wait_ready(30)
            assert client.analyze(frame()).verdict.rows == 80


def test_a_signal_before_it_is_ready_ends_it_with_0(tmp_path):
    bundle = write_served_bundle(tmp_path / "bundle", cost_ms=300)
    with launched(bundle, tmp_path / "work") as server:
        wait_for_event(server, "gate_started")
        assert server.stop() == 0
    assert "ready" not in names(server)


@contextmanager
def signalled_with_four_frames(tmp_path, number, **tables):
    """End a server whose network stands still while four frames are in flight.

    Yields the answers to come, and the file that tells the network to go on.
    """
    bundle = write_onnx_golden_bundle(tmp_path / "bundle")
    work, sent, slow = tmp_path / "work", threading.Event(), "support.serve_slow"
    told, tables["backend"] = work / "told", {"name": "slow", "threads": 1}
    with launched(bundle, work, program=slow, **tables) as server:
        told.write_text("go")
        address = wait_for_event(server, "ready")["address"]
        told.write_text("hold")
        with Client(address) as client, ThreadPoolExecutor(1) as reader:
            answers = reader.submit(list, client.stream(frames_then(4, sent.set)))
            assert sent.wait(30)
            # On the same connection: behind them, and several turns of the server.
            for _ in range(20):
                client.server_info()
            server.process.send_signal(number)
            assert wait_for_event(server, "draining")["in_flight"] == 4
            yield answers, told
        assert server.process.wait(30) == 0


def frames_then(count, done):
    """Yield frames; call `done` when they have been taken and sent."""
    for _ in range(count):
        yield frame()
    done()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_frames_in_flight_are_answered_before_it_exits(tmp_path, number):
    one = {"max_batch": 1}
    with signalled_with_four_frames(tmp_path, number, engine=one) as (answers, told):
        told.write_text("go")
        assert [a.verdict.rows for a in answers.result(30)] == [80] * 4


def test_frames_that_outlive_the_grace_are_refused(tmp_path):
    hasty = {"grace_s": 0.05, "listen": "127.0.0.1:0"}
    ending = signalled_with_four_frames(tmp_path, signal.SIGTERM, server=hasty)
    with ending as (answers, told):
        reasons = [answer.reason for answer in answers.result(30)]
        told.write_text("go")
    assert reasons == [Reason.SHUTTING_DOWN] * 4


def test_an_engine_that_fails_ends_the_server_with_1(bundle, tmp_path):
    with launched(bundle, tmp_path, program="support.serve_failing") as server:
        address = wait_for_event(server, "ready")["address"]
        with grpc.insecure_channel(address) as channel, Client(address) as client:
            stub = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            statuses = [next(watch).status]
            assert client.analyze(frame()).verdict.rows == 80
            statuses.append(next(watch).status)
        assert server.process.wait(30) == 1
    serving_, not_serving = (
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    )
    assert statuses == [serving_, not_serving]
    assert names(server)[-3:] == ["engine_failed", "draining", "stopped"]


def test_a_second_server_on_the_port_says_so(bundle, tmp_path):
    with serving(bundle, tmp_path / "a") as server:
        taken = {"listen": server.address}
        with launched(bundle, tmp_path / "b", server=taken) as second:
            assert second.process.wait(30) not in (0, None)
        assert "ADDRESS_IN_USE" in second.log.read_text()
        with Client(server.address) as client:
            assert client.analyze(frame()).verdict.rows == 80


def test_the_front_imports_nothing_of_the_decoders_or_networks():
    probe = (
        "import spinert.runtime.server.serve, sys;"
        "print([m for m in ('pydicom', 'imagecodecs', 'onnxruntime', 'torch')"
        " if m in sys.modules])"
    )
    out = subprocess.check_output([sys.executable, "-c", probe], text=True)
    assert out.strip() == "[]"
