"""The exported graphs: their outside, their operators, and their weights."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.agreements import candidate_gaps
from support.small_networks import (
    RECIPE,
    SMALL,
    batch,
    detector_canvas,
    fixed_canvas,
    golden_frames,
    small_densenet,
    write_recipe,
)

from spinert.export.checkpoints.reader import sha256_from_file
from spinert.export.families.densenet import TORCHVISION_DENSENET
from spinert.export.graphs import classifier_graph, detector_graph
from spinert.export.members import opened_recipe
from spinert.export.plan import bundle_from_recipe
from spinert.export.recipe import recipe_from_toml
from spinert.proto.agreement import TOLERANCES
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.onnxruntime import OnnxRuntimeBackend
from spinert.runtime.bundle import load_bundle
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.gate.running import run_gate


def session(directory: Path, role: str) -> onnxruntime.InferenceSession:
    path = directory / "networks" / f"{role}.onnx"
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def described(values) -> list[tuple[str, str, list[object]]]:
    return [(value.name, value.type, value.shape) for value in values]


def test_the_graphs_keep_the_contract(small_bundle) -> None:
    classifier = session(small_bundle, "classifier")
    assert described(classifier.get_inputs()) == [
        ("image", "tensor(uint8)", ["batch", 1, 64, 64])
    ]
    assert described(classifier.get_outputs()) == [
        ("logits", "tensor(float)", ["batch", 2])
    ]
    detector = session(small_bundle, "detector")
    assert described(detector.get_inputs()) == [
        ("image", "tensor(uint8)", ["batch", 1, "height", "width"]),
        ("image_size", "tensor(int32)", ["batch", 2]),
    ]
    assert described(detector.get_outputs()) == [
        ("boxes", "tensor(float)", ["batch", 30, 4]),
        ("scores", "tensor(float)", ["batch", 30]),
        ("labels", "tensor(int64)", ["batch", 30]),
    ]


@pytest.mark.parametrize("role", ["classifier", "detector"])
def test_the_graphs_hold_standard_operators_and_no_traces(small_bundle, role) -> None:
    model = onnx.load(small_bundle / "networks" / f"{role}.onnx")
    onnx.checker.check_model(model, full_check=True)
    operators = {node.op_type for node in model.graph.node}
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    banned = {"NonMaxSuppression", "NonZero", "Loop", "If", "Scan", "RoiAlign"}
    assert not operators & banned
    assert not any(node.metadata_props for node in model.graph.node)
    assert b"site-packages" not in model.SerializeToString()
    if role == "detector":
        assert "LayerNormalization" in operators


def test_the_detector_takes_any_multiple_of_32(small_bundle) -> None:
    run = session(small_bundle, "detector")
    for edge, count in ((64, 1), (224, 3)):
        image, size = batch(golden_frames(fixed_canvas(edge), count=count))
        feed = {"image": image.numpy(), "image_size": size.numpy()}
        boxes, scores, labels = run.run(None, feed)
        assert boxes.shape == (count, 30, 4)
        assert np.isfinite(boxes).all()
        assert (np.diff(scores, axis=1) <= 0).all()
        assert labels.min() >= 0
        assert labels.max() < 7


@pytest.mark.slow
def test_onnx_runtime_agrees_at_every_batch_size_and_slot(small_bundle) -> None:
    bundle = load_bundle(small_bundle)
    with closing(OnnxRuntimeBackend(BackendOptions(threads=1))) as backend:
        load_networks(backend, bundle)
        report = run_gate(bundle, backend, range(1, 9), lambda *_: None)
    report.require_passed()


def test_a_frame_does_not_depend_on_its_mates(small_bundle) -> None:
    run = session(small_bundle, "detector")
    image, size = (t.numpy() for t in batch(golden_frames(detector_canvas(), count=3)))
    names = [value.name for value in run.get_outputs()]
    together = run.run(None, {"image": image, "image_size": size})
    for slot in range(3):
        own = {"image": image[[slot]], "image_size": size[[slot]]}
        alone = [value[0] for value in run.run(None, own)]
        mixed = [value[slot] for value in together]
        gaps = candidate_gaps(
            dict(zip(names, alone, strict=True)), dict(zip(names, mixed, strict=True))
        )
        assert all(gap <= TOLERANCES["fp32"][name] for name, gap in gaps.items())


def test_a_checkpoint_of_torchvision_goes_through_the_same_door(
    tmp_path, small_bundle
) -> None:

    frames = golden_frames(fixed_canvas())
    network = small_densenet(frames, final_relu=True)
    state = {
        TORCHVISION_DENSENET.source_key(k): v for k, v in network.state_dict().items()
    }
    torch.save({"state_dict": state}, tmp_path / "mine.pth")
    text = RECIPE.replace('"untrained:1"', '"mine.pth"')
    # Both members want ImageNet's statistics there.
    text = text.replace('preset = "vindr"', 'preset = "paper"')
    recipe = recipe_from_toml(write_recipe(tmp_path, text))
    opened = opened_recipe(recipe, SMALL)
    bundle = bundle_from_recipe(recipe, opened)
    graph = classifier_graph(opened, bundle, frames)
    record = graph.members[0].record
    assert (record.style, record.source) == ("torchvision", "mine.pth")
    assert record.sha256 == sha256_from_file(tmp_path / "mine.pth")
    options = bundle.networks["classifier"].import_options
    assert options["first.final_relu"] == "true"
    assert options["second.final_relu"] == "false"


def test_an_overridden_mean_and_fill_reach_the_graph(tmp_path) -> None:

    text = RECIPE.replace(
        "[bundle.networks.detector.detection]",
        "[bundle.networks.detector.input]\nmean = [1, 2, 3]\nstd = [4, 5, 6]\n"
        "fill = [7, 8, 9]\n[bundle.networks.detector.detection]",
    )
    recipe = recipe_from_toml(write_recipe(tmp_path, text))
    opened = opened_recipe(recipe, SMALL)
    bundle = bundle_from_recipe(recipe, opened)
    frames = golden_frames(detector_canvas())
    grey = detector_graph(opened, bundle, frames).module.grey
    assert grey.mean.flatten().tolist() == [1, 2, 3]
    assert grey.std.flatten().tolist() == [4, 5, 6]
    assert grey.fill.flatten().tolist() == [7, 8, 9]
