"""What goes wrong in one frame, batch or thread, and what it spares."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from support.engines import (
    BRIGHT,
    CLASS_ONLY,
    DARK,
    PATIENCE_S,
    HeldDecoder,
    answers,
    image,
    raw,
    request,
    running_engine,
    wait_for_queue,
    wait_until_empty,
)

from spinert.runtime.errors import (
    BackendError,
    MalformedFrame,
    Reason,
    Unavailable,
)
from spinert.runtime.frame import DicomFrame


def test_a_failing_network_fails_its_batch_and_nothing_else(bundle, backend):
    backend.errors = [RuntimeError("SECRET of a device") for _ in range(3)]
    with running_engine(bundle, backend, max_batch=2, max_delay_ms=1e6) as engine:
        failed = [engine.submit(request(outputs=CLASS_ONLY)) for _ in range(2)]
        for future in failed:
            error = future.exception(PATIENCE_S)
            assert isinstance(error, BackendError)
            assert error.reason is Reason.NETWORK_FAILED
            assert "SECRET" not in str(error)
        good = [engine.submit(request(outputs=CLASS_ONLY)) for _ in range(2)]
        answers(good)
        assert engine.in_flight == 0


def test_a_typed_error_of_a_backend_reaches_every_frame_of_its_batch(bundle, backend):
    error = BackendError(Reason.NETWORK_FAILED, "out of memory")
    backend.errors = [error] * 3
    with running_engine(bundle, backend, max_batch=2, max_delay_ms=1e6) as engine:
        futures = [engine.submit(request(outputs=CLASS_ONLY)) for _ in range(2)]
        assert [future.exception(PATIENCE_S) for future in futures] == [error, error]


def test_a_frame_that_breaks_the_network_fails_alone(bundle, backend):
    def spoil(role, outputs):
        if (outputs["logits"] > 1).any():
            raise RuntimeError
        return outputs

    backend.spoil = spoil
    levels = (DARK, BRIGHT, DARK)
    with running_engine(bundle, backend, max_batch=3, max_delay_ms=1e6) as engine:
        first, bad, last = [
            engine.submit(request(raw(level), outputs=CLASS_ONLY)) for level in levels
        ]
        assert bad.exception(PATIENCE_S).reason is Reason.NETWORK_FAILED
        for good in answers([first, last]):
            assert good.receipt.batches[0].size == 1, "the batch it really ran in"


def test_one_result_too_few_fails_the_batch(bundle, backend):
    backend.spoil = lambda role, outputs: {k: v[:-1] for k, v in outputs.items()}
    with running_engine(bundle, backend, max_batch=3, max_delay_ms=1e6) as engine:
        futures = [engine.submit(request()) for _ in range(3)]
        for future in futures:
            error = future.exception(PATIENCE_S)
            assert error.reason is Reason.NETWORK_OUTPUT_INVALID
        wait_until_empty(engine)


@pytest.mark.parametrize("role", ["classifier", "detector"])
def test_numbers_that_are_not_finite_never_become_a_verdict(bundle, backend, role):
    def spoil(name, outputs):
        if name != role:
            return outputs
        return {
            key: np.where(value == value.flat[0], np.nan, value)
            if value.dtype.kind == "f"
            else value
            for key, value in outputs.items()
        }

    backend.spoil = spoil
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        error = engine.submit(request()).exception(PATIENCE_S)
        assert error.reason is Reason.NETWORK_OUTPUT_INVALID


def test_a_frame_that_did_not_converge_fails_alone(bundle, backend):
    def spoil(role, outputs):
        if role == "classifier":
            return outputs
        return {**outputs, "status": (outputs["scores"][:, 0] > 0.5).astype(np.int32)}

    backend.spoil = spoil
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        bad, good = (engine.submit(request(raw(level))) for level in (BRIGHT, DARK))
        assert bad.exception(PATIENCE_S).reason is Reason.NETWORK_FAILED
        good.result(PATIENCE_S)


def test_an_undecodable_frame_costs_nothing_to_the_others(bundle, backend):
    decoder = HeldDecoder()
    with running_engine(bundle, backend, decoder=decoder, max_delay_ms=0) as engine:
        bad, good = (engine.submit(request(DicomFrame(data=b""))) for _ in range(2))
        error = MalformedFrame(Reason.MALFORMED_DICOM, "not DICOM")
        decoder.futures[0].set_exception(error)
        decoder.futures[1].set_result(image())
        assert bad.exception(PATIENCE_S) is error
        good.result(PATIENCE_S)


def test_a_raw_frame_of_the_wrong_length_is_refused(bundle, backend):
    broken = replace(raw(), data=b"too short")
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        error = engine.submit(request(broken)).exception(PATIENCE_S)
        assert isinstance(error, MalformedFrame)
        engine.submit(request()).result(PATIENCE_S)
    assert backend.frames_run("classifier") == 1


def test_a_bug_in_a_stage_answers_the_frame_and_spares_the_thread(
    bundle, backend, monkeypatch
):
    def broken(*_):
        raise ZeroDivisionError

    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        for name in ("prepare.levels_from_image", "answering.verdict_from_evidence"):
            with monkeypatch.context() as patch:
                patch.setattr(f"spinert.runtime.engine.{name}", broken)
                error = engine.submit(request()).exception(PATIENCE_S)
                assert isinstance(error, ZeroDivisionError)
        engine.submit(request()).result(PATIENCE_S)


def test_a_step_that_fails_answers_its_frames_and_the_thread_goes_on(
    bundle, backend, monkeypatch, caplog
):
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        lane = type(engine._lanes["classifier"])
        with monkeypatch.context() as patch:
            patch.setattr(lane, "_deliver", lambda *_: {}["SECRET"])
            error = engine.submit(request(outputs=CLASS_ONLY)).exception(PATIENCE_S)
        assert isinstance(error, KeyError)
        engine.submit(request()).result(PATIENCE_S)
        assert engine.is_healthy
    assert (
        "spinert-classifier-0 failed: KeyError at test_engine_faults.py" in caplog.text
    )
    assert "SECRET" not in caplog.text


def test_an_engine_whose_thread_cannot_go_on_says_so(bundle, backend, monkeypatch):
    told = threading.Event()
    with running_engine(bundle, backend, max_delay_ms=1e6) as engine:
        engine.on_failure = told.set
        waiting = engine.submit(request(outputs=CLASS_ONLY))
        wait_for_queue(engine, "classifier", 1)
        monkeypatch.setattr(
            "spinert.runtime.engine.line.WaitingLine.take", lambda *_, **__: 1 / 0
        )
        engine._lanes["classifier"].queue.nudge()
        assert told.wait(PATIENCE_S)
        assert waiting.exception(PATIENCE_S).reason is Reason.NOT_READY
        assert not engine.is_healthy
        with pytest.raises(Unavailable):
            engine.submit(request())
