"""A server that answers on ONNX Runtime while its own backend is made ready."""

from __future__ import annotations

import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.golden import write_onnx_golden_bundle
from support.servers import launched, wait_for_event

from spinert.runtime.client import Client, Frame, PixelFormat, RequestFailed
from spinert.runtime.errors import Reason

BACKEND = {"name": "slow", "threads": 1, "fallback": "onnxruntime"}
ALONE = {"name": "slow", "threads": 1}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_onnx_golden_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def serve(bundle, tmp_path):
    def started(**tables):
        tables = {"backend": BACKEND, "engine": {"max_batch": 2}} | tables
        return launched(bundle, tmp_path, program="support.serve_slow", **tables)

    return started


@pytest.fixture
def tell(tmp_path):
    return (tmp_path / "told").write_text


def frame():
    pixels = np.arange(80 * 90, dtype=np.uint16).reshape(80, 90) % 4096
    return Frame.from_array(pixels, PixelFormat(bits_stored=12))


def ready(server):
    return wait_for_event(server, "ready")["address"]


def names(server):
    return [entry["event"] for entry in server.events()]


def health(address):
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True).status


SERVING = health_pb2.HealthCheckResponse.SERVING


def test_it_answers_on_the_fallback_until_the_backend_is_proven(serve, tell):
    with serve() as server, Client(ready(server)) as client:
        wait_for_event(server, "upgrade_started")
        first, info = client.analyze(frame()).provenance, client.server_info()
        assert first.degraded
        assert first.backend.startswith("onnxruntime ")
        assert (info.degraded, info.degraded_reason) == (True, "PREPARING")
        assert info.backend == first.backend
        tell("go")
        # Every frame on the way is answered: by one, or by each a network.
        while (last := client.analyze(frame()).provenance).backend != "slow 7":
            assert last.degraded
            backends = [run.backend for run in last.networks]
            assert first.backend in backends
            assert set(backends) <= {first.backend, "slow 7"}
            assert [run.degraded for run in last.networks] == [
                backend == first.backend for backend in backends
            ]
        assert not last.degraded
        assert [run.backend for run in last.networks] == ["slow 7", "slow 7"]
        wait_for_event(server, "upgraded")
        info = client.server_info()
        assert (info.degraded, info.degraded_reason, info.backend) == (
            False,
            "",
            "slow 7",
        )
        assert not client.analyze(frame()).provenance.degraded
        assert server.stop() == 0
    events = names(server)
    assert events.count("gate_passed") == 2, "each backend has to pass"
    assert events.index("ready") < events.index("upgrade_started")


@pytest.mark.parametrize(
    ("word", "reason"),
    [("fail", "BACKEND_UNAVAILABLE"), ("wrong", "GOLDEN_SET_FAILED")],
)
def test_a_backend_that_fails_leaves_the_fallback_serving(serve, tell, word, reason):
    tell(word)
    with serve() as server:
        address = ready(server)
        failed = wait_for_event(server, "upgrade_failed")
        assert (failed["reason"], failed["backend"]) == (reason, "slow")
        with Client(address) as client:
            told, info = client.analyze(frame()).provenance, client.server_info()
        assert told.degraded
        assert told.backend.startswith("onnxruntime ")
        assert (info.degraded, info.degraded_reason) == (True, reason)
        assert health(address) == SERVING
        assert server.stop() == 0


def test_a_server_that_is_still_preparing_can_be_ended(serve):
    with serve() as server:
        ready(server)
        wait_for_event(server, "upgrade_started")
        assert server.stop() == 0
    assert "upgrade_cancelled" in names(server)


def test_with_certificates_one_golden_frame_is_enough_for_both(serve, tell):
    tell("go")
    for expected in ("gate_passed", "golden_frame_passed"):
        with serve() as server:
            wait_for_event(server, "upgraded")
            assert names(server).count(expected) == 2
            server.stop()


def test_without_a_fallback_it_is_not_ready_until_the_backend_is(serve, tell):
    with serve(backend=ALONE) as server:
        address = wait_for_event(server, "listening")["address"]
        assert health(address) == health_pb2.HealthCheckResponse.NOT_SERVING
        with Client(address) as client:
            with pytest.raises(RequestFailed) as caught:
                client.server_info()
            assert caught.value.reason == Reason.NOT_READY
            tell("go")
            client.wait_ready(30)
            told = client.analyze(frame()).provenance
            assert (told.backend, told.degraded) == ("slow 7", False)


def test_without_a_fallback_it_can_be_ended_while_engines_are_built(serve):
    with serve(backend=ALONE) as server:
        wait_for_event(server, "listening")
        time.sleep(0.1)
        assert server.stop() == 0
    assert "ready" not in names(server)


def test_a_backend_that_does_not_exist_is_refused_in_spite_of_the_fallback(serve):
    with serve(backend=BACKEND | {"name": "tensort"}) as server:
        assert server.process.wait(30) not in (0, None)
    assert "unknown backend 'tensort'" in server.log.read_text()


def test_a_required_certificate_is_never_replaced_by_a_run(serve, tell):
    tell("go")
    strict = {"require_certificate": True}
    with serve(backend=ALONE, golden=strict) as server:
        assert server.process.wait(30) not in (0, None)
    assert "CERTIFICATE_MISSING" in server.log.read_text()
    assert "spinert verify" in server.log.read_text()
    with serve(backend=ALONE) as server:
        ready(server)
        server.stop()
    with serve(backend=ALONE, golden=strict) as server:
        ready(server)
        assert "golden_frame_passed" in names(server)
    larger = {"max_batch": 3}
    with serve(backend=ALONE, golden=strict, engine=larger) as server:
        assert server.process.wait(30) not in (0, None)
    assert "CERTIFICATE_MISSING" in server.log.read_text()
