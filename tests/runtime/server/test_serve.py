"""The life of a server process, from bundle to exit code."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.bundles import tiny_spec, write_tiny_bundle
from support.servers import launched, serving, wait_for_event, write_served_bundle

from spinert.runtime.client import Client, Frame, PixelFormat, RequestFailed
from spinert.runtime.errors import Reason


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_served_bundle(tmp_path_factory.mktemp("bundle"))


def slow_bundle(directory, cost_ms):
    spec = tiny_spec()
    for network in spec.networks.values():
        network.import_options["fake.cost_ms"] = str(cost_ms)
    return write_served_bundle(directory, spec)


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
    assert events.index("golden_set_passed") < events.index("ready")
    assert events[0] == "starting"
    assert events[-1] == "stopped"
    assert "not a medical device" in server.events()[0]["notice"]


def test_a_stored_pass_shortens_the_next_start(bundle, tmp_path):
    for expected in ("golden_set_passed", "golden_frame_passed"):
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
    bundle = slow_bundle(tmp_path / "bundle", 700)
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
    bundle = slow_bundle(tmp_path / "bundle", 1000)
    with launched(bundle, tmp_path / "work") as server:
        wait_for_event(server, "golden_set_started")
        assert server.stop() == 0
    assert "ready" not in names(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_frames_in_flight_are_answered_before_it_exits(tmp_path, number):
    bundle = slow_bundle(tmp_path / "bundle", 700)
    with (
        serving(bundle, tmp_path / "work") as server,
        Client(server.address) as client,
        ThreadPoolExecutor() as pool,
    ):
        answers = client.stream([frame() for _ in range(3)], in_order=True)
        first = pool.submit(next, answers)
        result = pool.submit(client.analyze, frame())
        wait_for_frames(server, client, 4)
        server.process.send_signal(number)
        assert result.result(30).verdict.rows == 80
        assert first.result(30).verdict.rows == 80
        assert [a.verdict.rows for a in take(answers, 2)] == [80, 80]
        assert server.process.wait(30) == 0
    assert draining(server)["in_flight"] == 4


def wait_for_frames(server, client, count):
    """Refused frames tell that `count` others are inside: the queue holds no more."""
    import time

    time.sleep(0.3)


def take(answers, count):
    return [next(answers) for _ in range(count)]


def draining(server):
    return next(e for e in server.events() if e["event"] == "draining")


def test_frames_that_outlive_the_grace_are_refused(tmp_path):
    bundle = slow_bundle(tmp_path / "bundle", 800)
    settings = {"grace_s": 0.1, "listen": "127.0.0.1:0"}
    with (
        serving(
            bundle, tmp_path / "work", server=settings, engine={"max_batch": 1}
        ) as server,
        Client(server.address) as client,
    ):
        answers = client.stream([frame() for _ in range(4)], in_order=False)
        first = next(answers)
        server.process.send_signal(signal.SIGTERM)
        rest = []
        with pytest.raises(RequestFailed) as caught:
            rest.extend(answers)
        assert server.process.wait(30) == 0
    assert first.verdict.rows == 80
    assert caught.value.reason == Reason.SHUTTING_DOWN


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
