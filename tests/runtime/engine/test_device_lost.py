"""A GPU that died: the engine says so at once, and takes nothing any more."""

from __future__ import annotations

import threading

import pytest
from support.engines import BOTH, PATIENCE_S, GatedBackend, request, running_engine
from support.engines import tiny_bundle as make_bundle

from spinert.runtime.device.errors import device_lost
from spinert.runtime.engine.guard import keep_serving
from spinert.runtime.errors import DeviceLost, Reason, Unavailable
from spinert.runtime.verdict import Output


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("tiny"))


def test_one_frame_is_enough_to_end_the_engine(bundle):
    backend, told = GatedBackend(), threading.Event()
    backend.errors = [device_lost("CUDA_ERROR_ASSERT")]
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        engine.on_failure = told.set
        frame = engine.submit(request(outputs=frozenset({Output.CLASSIFICATION})))
        error = frame.exception(PATIENCE_S)
        assert isinstance(error, DeviceLost)
        assert error.reason is Reason.DEVICE_LOST
        assert told.wait(PATIENCE_S)
        assert not engine.is_healthy
        with pytest.raises(Unavailable):
            engine.submit(request(outputs=BOTH))


def test_a_batch_on_a_dead_device_is_not_tried_frame_by_frame(bundle):
    backend = GatedBackend()
    with running_engine(bundle, backend, max_batch=3, max_delay_ms=1e6) as engine:
        backend.errors = [device_lost("CUDA_ERROR_ASSERT")] * 4
        frames = [
            engine.submit(request(outputs=frozenset({Output.CLASSIFICATION})))
            for _ in range(3)
        ]
        for frame in frames:
            assert isinstance(frame.exception(PATIENCE_S), DeviceLost)
        assert len(backend.calls) == 1


def test_a_thread_gives_up_after_one_lost_device():
    steps, gave_up = [], []

    def step():
        steps.append(1)
        raise device_lost("CUDA_ERROR_ASSERT")

    keep_serving("name", step, lambda: gave_up.append(1))
    assert (steps, gave_up) == ([1], [1])
