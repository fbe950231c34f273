"""Starting, warming up and closing an engine."""

from __future__ import annotations

import threading

import pytest
from support.engines import (
    PATIENCE_S,
    HeldDecoder,
    answers,
    request,
    running_engine,
)
from support.threads import threads_since

from spinert.runtime.errors import (
    BackendError,
    Reason,
    Unavailable,
)
from spinert.runtime.frame import EncodedFrame
from spinert.runtime.verdict import ReleaseReason


def test_an_engine_that_is_not_started_admits_nothing(bundle, backend):
    with running_engine(bundle, backend) as engine:
        pass
    with pytest.raises(Unavailable) as caught:
        engine.submit(request())
    assert caught.value.reason is Reason.SHUTTING_DOWN


def test_closing_releases_waiting_batches_and_answers_them(bundle, backend):
    with running_engine(bundle, backend, max_batch=4, max_delay_ms=1e6) as engine:
        futures = [engine.submit(request()) for _ in range(3)]
        engine.close(PATIENCE_S)
        records = [r for answer in answers(futures) for r in answer.receipt.batches]
    assert {record.reason for record in records} == {ReleaseReason.DRAIN}


def test_after_the_grace_period_the_rest_is_told_to_go_elsewhere(bundle, backend):
    decoder = HeldDecoder()
    with running_engine(bundle, backend, decoder=decoder) as engine:
        stuck = engine.submit(request(EncodedFrame(data=b"")))
        engine.close(0.0)
        error = stuck.exception(PATIENCE_S)
        assert error.reason is Reason.SHUTTING_DOWN
        assert error.retry_after_ms > 0
        with pytest.raises(Unavailable):
            engine.submit(request())


def test_closing_ends_every_thread(bundle, backend):
    before = set(threading.enumerate())
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        assert threads_since(before)
        engine.submit(request(deadline_s=1e9)).result(PATIENCE_S)
    assert not threads_since(before)


def test_a_decoder_that_drops_its_work_answers_the_frame(bundle, backend):
    decoder = HeldDecoder()
    with running_engine(bundle, backend, decoder=decoder) as engine:
        future = engine.submit(request(EncodedFrame(data=b"")))
        decoder.futures[0].cancel()
        assert future.exception(PATIENCE_S).reason is Reason.SHUTTING_DOWN


def test_warming_up_runs_every_network_on_a_usual_size(bundle, backend):
    with running_engine(bundle, backend) as engine:
        engine.warm_up()
    assert set(backend.calls) == {
        *(("classifier", (n, 1, 32, 32)) for n in (1, 2, 4)),
        *(("detector", (n, 1, 96, 64)) for n in (1, 2, 4)),
    }


def test_warming_up_with_a_broken_network_is_an_error(bundle, backend):
    backend.errors = [RuntimeError("no device")]
    with running_engine(bundle, backend) as engine, pytest.raises(BackendError):
        engine.warm_up()
