"""Whom an engine lets in, and who leaves before an answer."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest
from support.engines import (
    CLASS_ONLY,
    PATIENCE_S,
    HeldDecoder,
    answers,
    image,
    request,
    running_engine,
    started,
    wait_for_queue,
)

from spinert.runtime.errors import (
    DeadlineExceeded,
    Overloaded,
    Reason,
    Unavailable,
)
from spinert.runtime.frame import EncodedFrame, Priority
from spinert.runtime.preprocess.levels import levels_from_image


def test_a_full_engine_refuses_at_once_and_says_when_to_retry(bundle, backend):
    with running_engine(bundle, backend, max_frames=4, max_batch=4) as engine:
        backend.gate.clear()
        futures = [engine.submit(request(device=str(n))) for n in range(4)]
        with pytest.raises(Overloaded) as caught:
            engine.submit(request(device="5"))
        assert caught.value.reason is Reason.QUEUE_FULL
        assert caught.value.retry_after_ms > 0
        assert engine.in_flight == 4
        backend.gate.set()
        engine.close(PATIENCE_S)
        answers(futures)


def test_a_device_cannot_take_the_places_of_others(bundle, backend):
    with running_engine(bundle, backend, max_frames_per_device=2) as engine:
        backend.gate.clear()
        for _ in range(2):
            engine.submit(request(device="greedy"))
        with pytest.raises(Overloaded) as caught:
            engine.submit(request(device="greedy"))
        assert caught.value.reason is Reason.DEVICE_QUOTA
        engine.submit(request(device="other"))


def test_answered_frames_free_their_places(bundle, backend):
    with running_engine(
        bundle, backend, max_frames=1, max_batch=1, max_delay_ms=0
    ) as engine:
        for _ in range(20):
            engine.submit(request()).result(PATIENCE_S)
            assert engine.in_flight == 0, "the place is free before the answer is out"


def test_a_frame_that_comes_too_late_is_refused_at_once(bundle, backend, clock):
    with running_engine(bundle, backend, clock=clock) as engine:
        with pytest.raises(DeadlineExceeded):
            engine.submit(request(deadline_s=clock()))
        assert engine.in_flight == 0


def test_a_decoder_that_refuses_takes_no_place(bundle, backend):
    class Refusing:
        def submit(self, content, timeout_s=None, *, priority=None):
            raise Unavailable(Reason.SHUTTING_DOWN, "closed")

    with running_engine(bundle, backend, decoder=Refusing()) as engine:
        refused = [engine.submit(request(EncodedFrame(data=b""))) for _ in range(20)]
        for future in refused:
            assert isinstance(future.exception(PATIENCE_S), Unavailable)
        assert engine.in_flight == 0


def test_a_frame_cancelled_in_a_queue_costs_no_compute(bundle, backend):
    with running_engine(bundle, backend, max_batch=1, max_delay_ms=0) as engine:
        (first,) = started(engine, backend, outputs=CLASS_ONLY)
        second, third = (engine.submit(request(outputs=CLASS_ONLY)) for _ in range(2))
        wait_for_queue(engine, "classifier", 2)
        assert second.cancel()
        assert engine.in_flight == 2, "its place is free at once"
        assert len(engine._lanes["classifier"].queue) == 1
        backend.gate.set()
        answers([first, third])
    assert backend.frames_run("classifier") == 2
    with pytest.raises(CancelledError):
        second.result()


def test_a_frame_cancelled_before_it_is_prepared_costs_nothing(
    bundle, backend, monkeypatch
):
    reached, opened = threading.Event(), threading.Event()

    def held(*args):
        reached.set()
        opened.wait(PATIENCE_S)
        return levels_from_image(*args)

    monkeypatch.setattr("spinert.runtime.engine.prepare.levels_from_image", held)
    with running_engine(bundle, backend, prepare_threads=1, max_delay_ms=0) as engine:
        first = engine.submit(request())
        assert reached.wait(PATIENCE_S)
        second = engine.submit(request())
        assert len(engine._preparation.queue) == 1
        second.cancel()
        assert len(engine._preparation.queue) == 0
        opened.set()
        first.result(PATIENCE_S)


def test_a_frame_cancelled_while_it_is_decoded_reaches_no_network(bundle, backend):
    decoder = HeldDecoder()
    with running_engine(bundle, backend, decoder=decoder, max_delay_ms=0) as engine:
        future = engine.submit(request(EncodedFrame(data=b"")))
        future.cancel()
        assert decoder.futures[0].cancelled(), "the decoder is told"
        assert engine.in_flight == 0
    assert backend.calls == []


def test_a_decoder_too_far_to_stop_changes_nothing_for_a_cancelled_frame(
    bundle, backend
):
    decoder = HeldDecoder()
    with running_engine(bundle, backend, decoder=decoder, max_delay_ms=0) as engine:
        future = engine.submit(request(EncodedFrame(data=b"")))
        decoder.futures[0].set_running_or_notify_cancel()
        future.cancel()
        decoder.futures[0].set_result(image())
        engine.close(PATIENCE_S)
    assert backend.calls == []


def test_a_frame_cancelled_while_it_runs_leaves_its_mates_alone(bundle, backend):
    with running_engine(bundle, backend, max_batch=2, max_delay_ms=1e6) as engine:
        first, second = started(engine, backend, 2, outputs=CLASS_ONLY)
        assert first.cancel()
        backend.gate.set()
        assert second.result(PATIENCE_S).receipt.batches[0].size == 2


def test_a_frame_expires_at_its_deadline_while_others_run(bundle, backend, clock):
    with running_engine(
        bundle, backend, clock=clock, max_batch=1, max_delay_ms=0
    ) as engine:
        (running,) = started(engine, backend, outputs=CLASS_ONLY)
        waiting = engine.submit(request(outputs=CLASS_ONLY, deadline_s=clock() + 1))
        clock.now_s += 1
        engine._admission.nudge()
        with pytest.raises(DeadlineExceeded):
            waiting.result(PATIENCE_S)
        assert not running.done()
        backend.gate.set()
        running.result(PATIENCE_S)
    assert backend.frames_run("classifier") == 1


def test_a_frame_that_expires_while_it_runs_is_told_so(bundle, backend, clock):
    with running_engine(bundle, backend, clock=clock, max_delay_ms=0) as engine:
        (future,) = started(engine, backend, deadline_s=clock() + 1)
        clock.now_s += 1
        engine._admission.nudge()
        with pytest.raises(DeadlineExceeded):
            future.result(PATIENCE_S)
        assert engine.in_flight == 0


def test_stat_frames_overtake_in_every_queue(bundle, backend):
    order = []
    with running_engine(bundle, backend, max_batch=1, max_delay_ms=0) as engine:
        (first,) = started(engine, backend, outputs=CLASS_ONLY)
        later = []
        for name, priority in [
            ("routine 1", Priority.ROUTINE),
            ("routine 2", Priority.ROUTINE),
            ("stat", Priority.STAT),
        ]:
            future = engine.submit(request(outputs=CLASS_ONLY, priority=priority))
            future.add_done_callback(lambda _, name=name: order.append(name))
            later.append(future)
            wait_for_queue(engine, "classifier", len(later))
        backend.gate.set()
        answers([first, *later])
    assert order == ["stat", "routine 1", "routine 2"]
