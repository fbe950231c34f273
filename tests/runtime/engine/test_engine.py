"""Frames in, answers out: what an engine computes, and tells of it."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import replace

import pytest
from support.bundles import tiny_spec
from support.engines import (
    BOTH,
    BRIGHT,
    CLASS_ONLY,
    DARK,
    PATIENCE_S,
    GatedBackend,
    HeldDecoder,
    answers,
    image,
    raw,
    request,
    running_engine,
    started,
    tiny_bundle,
    wait_until_empty,
)

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.engine.input_hash import input_sha256
from spinert.runtime.frame import DicomFrame, EncodedFrame
from spinert.runtime.image import Note
from spinert.runtime.verdict import Decision, Output, ReleaseReason


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
