from __future__ import annotations

import gc
import hashlib
import threading
import time
import weakref
from concurrent.futures import CancelledError
from dataclasses import replace

import numpy as np
import pytest
from support.bundles import tiny_spec
from support.engines import (
    BOTH,
    PATIENCE_S,
    GatedBackend,
    HeldDecoder,
    ManualClock,
    image,
    raw,
    request,
    running_engine,
    tiny_bundle,
)

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.engine.input_hash import input_sha256
from spinert.runtime.errors import (
    BackendError,
    DeadlineExceeded,
    MalformedFrame,
    Overloaded,
    Reason,
    Unavailable,
)
from spinert.runtime.frame import DicomFrame, EncodedFrame, Priority
from spinert.runtime.image import Note
from spinert.runtime.preprocess.grey import grey_from_image
from spinert.runtime.verdict import Decision, Output, ReleaseReason

CLASS_ONLY = frozenset({Output.CLASSIFICATION})
BRIGHT, DARK = 230, 20


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def backend():
    return GatedBackend()


@pytest.fixture
def clock():
    return ManualClock()


def answers(futures):
    return [future.result(PATIENCE_S) for future in futures]


def started(engine, backend, count=1, **fields):
    """Submit frames and return once a network runs the first batch of them."""
    backend.gate.clear()
    futures = [engine.submit(request(**fields)) for _ in range(count)]
    backend.wait_until_running()
    return futures


def wait_until_empty(engine):
    """Wait for the callbacks of answered frames, which run in another thread."""
    until_s = time.monotonic() + PATIENCE_S
    while engine.in_flight and time.monotonic() < until_s:
        time.sleep(0.001)
    assert engine.in_flight == 0


def test_a_raw_frame_becomes_a_verdict(bundle, backend):
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        bright, dark = answers(
            [engine.submit(request(raw(level))) for level in (BRIGHT, DARK)]
        )
    assert bright.verdict.decision is Decision.ABNORMAL
    assert dark.verdict.decision is Decision.NORMAL
    assert len(bright.verdict.findings) == 8
    assert len(dark.verdict.findings) == 0
    assert (bright.verdict.rows, bright.verdict.columns) == (80, 64)
    assert bright.input_sha256 == input_sha256(raw(BRIGHT))
    assert max(f.box.x_max for f in bright.verdict.findings) <= 64


def test_boxes_are_scaled_from_the_valid_area_without_its_padding(bundle, backend):
    content = raw(BRIGHT, rows=180, columns=128)  # becomes 90 x 64, padded to 96 x 64
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        verdict = engine.submit(request(content)).result(PATIENCE_S).verdict
    # The fake's last box ends at 7.9 / 8 of the valid area.
    assert max(f.box.y_max for f in verdict.findings) == pytest.approx(180 * 7.9 / 8)
    assert max(f.box.x_max for f in verdict.findings) == pytest.approx(128 * 7.9 / 8)


@pytest.mark.parametrize("content", [DicomFrame(data=b"d"), EncodedFrame(data=b"e")])
def test_a_file_is_decoded_elsewhere_first(bundle, backend, content):
    decoder = HeldDecoder()
    with running_engine(bundle, backend, decoder=decoder, max_delay_ms=0) as engine:
        future = engine.submit(request(content))
        assert backend.calls == []
        decoded = replace(
            image(BRIGHT), study_uid="1.2.3", notes=frozenset({Note.TINTED})
        )
        decoder.futures[0].set_result(decoded)
        answer = future.result(PATIENCE_S)
    assert answer.study_uid == "1.2.3"
    assert answer.input_sha256 == hashlib.sha256(content.data).hexdigest()
    assert Note.TINTED in answer.verdict.notes
    assert answer.verdict.decision is Decision.ABNORMAL


def test_the_receipt_accounts_for_every_stage_in_order(bundle, backend):
    start_s = time.monotonic()
    with running_engine(bundle, backend, clock=time.monotonic) as engine:
        answer = engine.submit(request(arrived_s=start_s)).result(PATIENCE_S)
    end_s = time.monotonic()
    stages = {stage.name: stage for stage in answer.receipt.stages}
    assert set(stages) == {
        "decode",
        "queue.prepare",
        "prepare",
        "queue.classifier",
        "classifier",
        "queue.detector",
        "detector",
        "decide",
    }
    for stage in stages.values():
        assert stage.start_s >= 0
        assert stage.duration_s >= 0
        end = stage.start_s + stage.duration_s
        assert end <= answer.receipt.total_s + 1e-9
    for before, after in [
        ("queue.prepare", "decode"),
        ("decode", "prepare"),
        ("prepare", "queue.classifier"),
        ("queue.classifier", "classifier"),
        ("queue.detector", "detector"),
        ("detector", "decide"),
    ]:
        end = stages[before].start_s + stages[before].duration_s
        assert end <= stages[after].start_s + 1e-9
    assert answer.receipt.total_s <= end_s - start_s


def test_the_receipt_names_the_batch_a_frame_ran_in(bundle, backend):
    with running_engine(bundle, backend, max_batch=2, max_delay_ms=1e6) as engine:
        pair = answers([engine.submit(request()) for _ in range(2)])
    records = [record for answer in pair for record in answer.receipt.batches]
    assert {(r.network, r.size, r.height, r.width) for r in records} == {
        ("classifier", 2, 32, 32),
        ("detector", 2, 96, 64),
    }
    for role in ("classifier", "detector"):
        assert sorted(r.slot for r in records if r.network == role) == [0, 1]
    assert {r.reason for r in records} == {ReleaseReason.FULL}


def test_each_frame_gets_its_own_answer_out_of_a_batch(bundle, backend):
    levels = [20, 60, 100, 140, 180, 220]
    with running_engine(bundle, backend, max_batch=1) as engine:
        alone = answers([engine.submit(request(raw(level))) for level in levels])
    with running_engine(bundle, backend, max_batch=6, max_delay_ms=1e6) as engine:
        together = answers([engine.submit(request(raw(level))) for level in levels])
    assert [a.verdict for a in alone] == [a.verdict for a in together]
    assert len({a.verdict.abnormal_probability for a in alone}) == len(levels)


def test_frames_of_other_sizes_run_in_other_batches(bundle, backend):
    wide = raw(rows=64, columns=80)
    with running_engine(bundle, backend, max_batch=2, max_delay_ms=1e6) as engine:
        contents = [raw(), wide, raw(), wide]
        answers([engine.submit(request(content)) for content in contents])
    shapes = sorted(shape for role, shape in backend.calls if role == "detector")
    assert shapes == [(2, 1, 64, 96), (2, 1, 96, 64)]


def test_classifier_and_detector_run_at_the_same_time(bundle, backend):
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        backend.gate.clear()
        future = engine.submit(request())
        backend.wait_until_running(calls=2)
        backend.gate.set()
        future.result(PATIENCE_S)
    assert backend.most_at_once == 2


def test_a_backend_for_one_network_at_a_time_gets_one_at_a_time(bundle):
    backend = GatedBackend(concurrent=False)
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        (future,) = started(engine, backend)
        assert not backend.running.acquire(timeout=0.1), "the other network waits"
        backend.gate.set()
        future.result(PATIENCE_S)
    assert backend.most_at_once == 1
    assert len(backend.calls) == 2


def test_a_classification_alone_spares_the_detector(bundle, backend):
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        answer = engine.submit(request(outputs=CLASS_ONLY)).result(PATIENCE_S)
    assert {role for role, _ in backend.calls} == {"classifier"}
    assert answer.verdict.findings == ()
    assert answer.verdict.decision is not Decision.UNSPECIFIED
    assert [record.network for record in answer.receipt.batches] == ["classifier"]


def test_reverse_fusion_needs_the_detector_for_a_classification(tmp_path, backend):
    spec = tiny_spec()
    spec.fusion.reverse.threshold = 0.5
    bundle = tiny_bundle(tmp_path, spec)
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        answer = engine.submit(request(outputs=CLASS_ONLY)).result(PATIENCE_S)
    assert {role for role, _ in backend.calls} == {"classifier", "detector"}
    assert answer.verdict.reverse_fusion_score is not None
    assert answer.verdict.findings == ()


def test_unfused_findings_alone_spare_the_classifier(tmp_path, backend):
    spec = tiny_spec()
    spec.fusion.rule = pb.FUSION_NONE
    bundle = tiny_bundle(tmp_path, spec)
    wanted = frozenset({Output.FINDINGS})
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        answer = engine.submit(request(outputs=wanted)).result(PATIENCE_S)
    assert {role for role, _ in backend.calls} == {"detector"}
    assert len(answer.verdict.findings) == 8


def test_a_frame_that_wants_nothing_runs_no_network(bundle, backend):
    with running_engine(bundle, backend) as engine:
        answer = engine.submit(request(outputs=frozenset())).result(PATIENCE_S)
    assert backend.calls == []
    assert answer.verdict.decision is Decision.UNSPECIFIED


def test_an_enlarged_image_is_noted(tmp_path, backend):
    spec = tiny_spec()
    spec.networks["classifier"].input.canvas.fixed.height = 72
    bundle = tiny_bundle(tmp_path, spec)
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        contents = [raw(rows=72, columns=64), raw(rows=71, columns=64)]
        large, small = answers([engine.submit(request(c)) for c in contents])
    assert Note.SMALL in small.verdict.notes
    assert Note.SMALL not in large.verdict.notes


# ------------------------------------------------------------------- admission


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


# ------------------------------------------------------ cancelling and deadlines


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


def wait_for_queue(engine, role, count):
    until_s = time.monotonic() + PATIENCE_S
    queue = engine._lanes[role].queue
    while len(queue) < count and time.monotonic() < until_s:
        time.sleep(0.001)
    assert len(queue) == count


def test_a_frame_cancelled_before_it_is_prepared_costs_nothing(
    bundle, backend, monkeypatch
):
    reached, opened = threading.Event(), threading.Event()

    def held(*args):
        reached.set()
        opened.wait(PATIENCE_S)
        return grey_from_image(*args)

    monkeypatch.setattr("spinert.runtime.engine.prepare.grey_from_image", held)
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


# ---------------------------------------------------------------------- faults


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
        for name in ("prepare.grey_from_image", "engine.verdict_from_evidence"):
            with monkeypatch.context() as patch:
                patch.setattr(f"spinert.runtime.engine.{name}", broken)
                error = engine.submit(request()).exception(PATIENCE_S)
                assert isinstance(error, ZeroDivisionError)
        engine.submit(request()).result(PATIENCE_S)


# ---------------------------------------------------------- memory and healthy


@pytest.fixture
def no_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Payload(bytearray):
    """Bytes that can be watched."""


def watched(level=128):
    payload = Payload(raw(level).data)
    return replace(raw(level), data=memoryview(payload)), weakref.ref(payload)


def gone(reference):
    """Wait for the threads of the engine to let go; no garbage collection runs."""
    until_s = time.monotonic() + 1
    while reference() is not None and time.monotonic() < until_s:
        time.sleep(0.001)
    return reference() is None


def test_an_answered_frame_leaves_no_bytes_behind(bundle, backend, no_collection):
    content, payload = watched()
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        future = engine.submit(request(content))
        del content
        assert future.result(PATIENCE_S)
        assert gone(payload), "whoever keeps the answer does not keep the frame"


def test_a_refused_frame_leaves_no_bytes_behind(bundle, backend, no_collection):
    content, payload = watched()
    wrong = replace(content, rows=79)
    del content
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        future = engine.submit(request(wrong))
        del wrong
        assert isinstance(future.exception(PATIENCE_S), MalformedFrame)
        assert gone(payload)


def test_a_frame_failed_by_a_network_leaves_no_bytes_behind(
    bundle, backend, no_collection
):
    content, payload = watched()
    backend.errors = [BackendError(Reason.NETWORK_FAILED, n) for n in "ab"]
    with running_engine(bundle, backend, max_delay_ms=0) as engine:
        future = engine.submit(request(content))
        del content
        assert isinstance(future.exception(PATIENCE_S), BackendError)
        wait_until_empty(engine)
        backend.errors.clear()
        assert gone(payload)


def test_images_wait_for_places_and_stat_takes_the_next(bundle, backend):
    decoder = HeldDecoder()
    with running_engine(
        bundle, backend, decoder=decoder, max_delay_ms=0, workers=1, prepare_threads=1
    ) as engine:
        routine = [engine.submit(request(DicomFrame(data=b"r"))) for _ in range(4)]
        stat = engine.submit(
            request(DicomFrame(data=b"s"), priority=Priority.STAT, deadline_s=107.0)
        )
        assert len(decoder.futures) == 2, "a worker and a preparing thread"
        decoder.futures[0].set_result(image())
        routine[0].result(PATIENCE_S)
        assert [c.data for c, *_ in decoder.submitted] == [b"r", b"r", b"s"]
        assert decoder.submitted[2][1:] == (7.0, Priority.STAT)
        routine[1].cancel()
        assert len(decoder.futures) == 4, "its place is free at once"
        assert len(engine._decoding.queue) == 1
        routine[3].cancel()
        assert len(engine._decoding.queue) == 0, "the bytes are gone with it"
        decoder.futures[2].set_result(image())
        stat.result(PATIENCE_S)


def test_a_decoded_image_holds_its_place_until_it_is_prepared(
    bundle, backend, monkeypatch
):
    reached, opened = threading.Event(), threading.Event()

    def held(*args):
        reached.set()
        opened.wait(PATIENCE_S)
        return grey_from_image(*args)

    monkeypatch.setattr("spinert.runtime.engine.prepare.grey_from_image", held)
    decoder = HeldDecoder()
    with running_engine(
        bundle, backend, decoder=decoder, max_delay_ms=0, workers=1, prepare_threads=1
    ) as engine:
        frames = [engine.submit(request(DicomFrame(data=b"d"))) for _ in range(4)]
        for future in decoder.futures[:2]:
            future.set_result(image())
        assert reached.wait(PATIENCE_S)
        assert len(decoder.futures) == 2
        opened.set()
        answers(frames[:2])
        assert len(decoder.futures) == 4


def test_a_prepared_frame_returns_its_place_while_it_waits_for_a_network(
    bundle, backend
):
    decoder = HeldDecoder()
    with running_engine(
        bundle, backend, decoder=decoder, max_delay_ms=0, workers=1, prepare_threads=1
    ) as engine:
        backend.gate.clear()
        for _ in range(3):
            engine.submit(request(DicomFrame(data=b"d"), outputs=CLASS_ONLY))
        decoder.futures[0].set_result(image())
        backend.wait_until_running()
        assert len(decoder.futures) == 3


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
    assert "spinert-classifier-0 failed: KeyError at test_engine.py" in caplog.text
    assert "SECRET" not in caplog.text


def test_an_engine_whose_thread_cannot_go_on_says_so(bundle, backend, monkeypatch):
    told = threading.Event()
    with running_engine(bundle, backend, max_delay_ms=1e6) as engine:
        engine.on_failure = told.set
        waiting = engine.submit(request(outputs=CLASS_ONLY))
        wait_for_queue(engine, "classifier", 1)
        monkeypatch.setattr(
            "spinert.runtime.engine.scheduler.next_step", lambda *_, **__: 1 / 0
        )
        engine._lanes["classifier"].queue.nudge()
        assert told.wait(PATIENCE_S)
        assert waiting.exception(PATIENCE_S).reason is Reason.NOT_READY
        assert not engine.is_healthy
        with pytest.raises(Unavailable):
            engine.submit(request())


# ------------------------------------------------------------- start and close


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
        assert set(threading.enumerate()) - before
        engine.submit(request(deadline_s=1e9)).result(PATIENCE_S)
    assert set(threading.enumerate()) == before


def test_a_decoder_that_drops_its_work_answers_the_frame(bundle, backend):
    decoder = HeldDecoder()
    with running_engine(bundle, backend, decoder=decoder) as engine:
        future = engine.submit(request(EncodedFrame(data=b"")))
        decoder.futures[0].cancel()
        assert future.exception(PATIENCE_S).reason is Reason.SHUTTING_DOWN


def test_warming_up_runs_every_network_on_a_usual_size(bundle, backend):
    with running_engine(bundle, backend) as engine:
        engine.warm_up()
    assert sorted(backend.calls) == [
        ("classifier", (1, 1, 32, 32)),
        ("detector", (1, 1, 96, 64)),
    ]


def test_warming_up_with_a_broken_network_is_an_error(bundle, backend):
    backend.errors = [RuntimeError("no device")]
    with running_engine(bundle, backend) as engine, pytest.raises(BackendError):
        engine.warm_up()


def test_an_engine_says_what_it_serves(bundle, backend):
    with running_engine(bundle, backend) as engine:
        assert engine.bundle is bundle


def test_many_threads_get_every_answer_once(bundle, backend):
    results = []

    def device(name):
        for number in range(25):
            level = 10 + (number * 7 + len(name) * 31) % 240
            future = engine.submit(request(raw(level), device=name, outputs=BOTH))
            if number % 5 == 4:
                future.cancel()
                continue
            results.append((level, future.result(PATIENCE_S)))

    with running_engine(bundle, backend, clock=time.monotonic) as engine:
        threads = [threading.Thread(target=device, args=("x" * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until_empty(engine)
    assert len(results) == 80
    by_level = {}
    for level, answer in results:
        known = by_level.setdefault(level, answer.verdict)
        assert answer.verdict == known
