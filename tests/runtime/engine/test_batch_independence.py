"""The answer for a frame does not depend on what it was batched with."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support.engines import PATIENCE_S, HeldDecoder, image, raw, request, settings
from support.graphs import onnx_bundle

from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.onnxruntime import OnnxRuntimeBackend
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.engine.engine import Engine
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.engine.prepare import prepared_from_image
from spinert.runtime.engine.switch import BackendSwitch

LEVELS = (20, 70, 120, 170, 220)
ROLES = ("classifier", "detector")
# Rounding of sums whose order ONNX Runtime may choose by the batch size.
ACROSS_SIZES = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return onnx_bundle(tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def backend(bundle):
    backend = OnnxRuntimeBackend(BackendOptions(threads=2))
    load_networks(backend, bundle)
    yield backend
    backend.close()


def tensors(bundle, role, rows=80, columns=64):
    """One frame at each grey level, all of one padded size."""
    return [
        prepared_from_image(image(level, rows, columns), bundle.spec, ROLES).inputs[
            role
        ]
        for level in LEVELS
    ]


def run(backend, bundle, role, batch):
    return backend.run(role, batch_inputs(bundle.spec.networks[role].input, batch))


@pytest.mark.parametrize("role", ROLES)
def test_frames_differ_enough_to_notice_a_mix_up(bundle, backend, role):
    outputs = run(backend, bundle, role, tensors(bundle, role))
    first = outputs["logits" if role == "classifier" else "scores"]
    for one, two in itertools.combinations(first, 2):
        assert np.abs(one - two).max() > 1e-2


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_frame_gets_its_answer_in_every_slot_of_every_batch(
    bundle, backend, role, size
):
    frames = tensors(bundle, role)
    alone = [run(backend, bundle, role, [frame]) for frame in frames]
    for start in range(len(frames)):
        chosen = [(start + step) % len(frames) for step in range(size)]
        together = run(backend, bundle, role, [frames[index] for index in chosen])
        for slot, index in enumerate(chosen):
            for name, values in together.items():
                expected = alone[index][name][0]
                np.testing.assert_allclose(values[slot], expected, **ACROSS_SIZES)


@pytest.mark.parametrize("role", ROLES)
def test_other_mates_change_not_one_bit(bundle, backend, role):
    frame, *others = tensors(bundle, role)
    seen = []
    for mates in itertools.permutations(others, 2):
        outputs = run(backend, bundle, role, [mates[0], frame, mates[1]])
        seen.append({name: values[1].tobytes() for name, values in outputs.items()})
    assert all(found == seen[0] for found in seen)


def test_frames_of_one_padded_size_keep_their_own_valid_area(bundle, backend):
    """86 and 90 rows both pad to 96: the box scale must be each frame's own."""
    tall, short = (tensors(bundle, "detector", rows)[2] for rows in (90, 86))
    assert tall.size == short.size
    assert tall.placement != short.placement
    together = run(backend, bundle, "detector", [tall, short])
    for slot, frame in enumerate((tall, short)):
        alone = run(backend, bundle, "detector", [frame])
        np.testing.assert_allclose(
            together["boxes"][slot], alone["boxes"][0], **ACROSS_SIZES
        )


def close(one, two):
    """Compare two verdicts up to float32 rounding."""
    assert one.decision is two.decision
    assert one.abnormal_probability == pytest.approx(two.abnormal_probability, rel=1e-5)
    assert [f.class_index for f in one.findings] == [
        f.class_index for f in two.findings
    ]
    for a, b in zip(one.findings, two.findings, strict=True):
        assert a.score == pytest.approx(b.score, rel=1e-5)
        assert a.box.x_min == pytest.approx(b.box.x_min, abs=1e-3)
        assert a.box.y_max == pytest.approx(b.box.y_max, abs=1e-3)


def answers(bundle, backend, contents, **limits):
    with Engine(
        bundle, BackendSwitch(backend), HeldDecoder(), settings(**limits)
    ) as engine:
        futures = [engine.submit(request(content)) for content in contents]
        return [future.result(PATIENCE_S) for future in futures]


def test_verdicts_are_the_same_alone_and_in_company(bundle, backend):
    sizes = [(80, 64), (64, 80), (86, 64), (90, 64)]
    contents = [raw(level, *size) for level in LEVELS for size in sizes]
    alone = answers(bundle, backend, contents, max_batch=1, max_delay_ms=0)
    company = answers(bundle, backend, contents, max_batch=5, max_delay_ms=50)
    batches = {b.size for answer in company for b in answer.receipt.batches}
    assert max(batches) > 1
    for one, two in zip(alone, company, strict=True):
        close(one.verdict, two.verdict)
    assert len({answer.verdict.abnormal_probability for answer in alone}) > 4
