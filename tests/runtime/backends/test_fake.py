from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.bundles import tiny_spec

from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.engine.outputs import frame_outputs_from_batch
from spinert.runtime.errors import BackendError

LEVELS = (10, 90, 160, 250)


def loaded(spec=None):
    backend = FakeBackend(BackendOptions())
    for role, network in (spec or tiny_spec()).networks.items():
        backend.load(role, Path("not-read.onnx"), network)
    return backend


def images(levels, dtype=np.uint8):
    random = np.random.default_rng(1)
    noise = random.integers(-5, 6, (len(levels), 1, 64, 32))
    return (np.array(levels).reshape(-1, 1, 1, 1) + noise).astype(dtype)


def sizes(count):
    return np.tile(np.array([60, 30], np.int32), (count, 1))


@pytest.mark.parametrize("role", ["classifier", "detector"])
def test_outputs_follow_the_contract_for_any_declared_counts(role):
    spec = tiny_spec()
    spec.networks["classifier"].members.extend("abc")
    spec.networks["detector"].detection.candidates = 17
    spec.networks["detector"].import_options["fake.classes"] = "3"
    outputs = loaded(spec).run(role, {"image": images(LEVELS), "image_size": sizes(4)})
    network = spec.networks[role]
    split = frame_outputs_from_batch(role, network, 3, len(LEVELS), outputs)
    assert len(split) == len(LEVELS)
    if role == "detector":
        assert outputs["labels"].max() == 2


@pytest.mark.parametrize("role", ["classifier", "detector"])
def test_a_sample_gets_the_same_answer_in_any_company(role):
    backend, batch = loaded(), images(LEVELS)
    together = backend.run(role, {"image": batch, "image_size": sizes(4)})
    for slot in range(4):
        alone = backend.run(
            role, {"image": batch[slot : slot + 1], "image_size": sizes(1)}
        )
        for name, values in together.items():
            assert np.array_equal(values[slot], alone[name][0])


def test_brighter_images_are_more_abnormal():
    logits = loaded().run("classifier", {"image": images(LEVELS)})["logits"][:, 0]
    assert (np.diff(logits) > 0).all()
    assert logits[0] < 0 < logits[-1]


def test_boxes_lie_in_the_valid_area():
    outputs = loaded().run(
        "detector", {"image": images(LEVELS), "image_size": sizes(4)}
    )
    boxes = outputs["boxes"]
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert boxes.min() >= 0
    assert boxes[..., [0, 2]].max() <= 30
    assert 30 < boxes[..., [1, 3]].max() <= 60


def test_a_network_without_a_size_input_uses_the_whole_canvas():
    outputs = loaded().run("detector", {"image": images(LEVELS)})
    assert outputs["boxes"][..., 3].max() > 55


@pytest.mark.parametrize("role", ["classifier", "detector"])
def test_outputs_belong_to_the_caller(role):
    outputs = loaded().run(role, {"image": images(LEVELS[:1])})
    for values in outputs.values():
        values[...] = 0


def test_a_cost_is_paid_once_for_each_call(monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    spec = tiny_spec()
    spec.networks["classifier"].import_options["fake.cost_ms"] = "5"
    backend = loaded(spec)
    backend.run("classifier", {"image": images(LEVELS)})
    backend.run("detector", {"image": images(LEVELS)})
    assert slept == [0.005]


def test_a_network_that_was_not_loaded_is_a_typed_error():
    backend = loaded()
    backend.close()
    with pytest.raises(BackendError, match="not loaded"):
        backend.run("classifier", {"image": images(LEVELS)})
