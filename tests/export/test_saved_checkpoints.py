"""Files as other projects save them, exported whole: every family, small canvases."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from google.protobuf import json_format
from support import faster_rcnns, retinanets
from support.effdet_models import effdet_bench, effdet_config, effdet_model
from support.efficientdets import EDGE, calibrated
from support.small_networks import (
    SMALL,
    fixed_canvas,
    golden_frames,
    small_densenet,
    small_sparse_rcnn,
    write_recipe,
)
from torch import Tensor

from spinert.export.cache import ExportCache
from spinert.export.checkpoints.mapping import own_keys
from spinert.export.families.efficientdet import ENTRIES
from spinert.export.pipeline import Resources, export_bundle
from spinert.proto import bundle_pb2 as pb

ARCHITECTURES = {
    **SMALL,
    "small_faster_rcnn": faster_rcnns.ARCHITECTURE,
    "small_retinanet": retinanets.ARCHITECTURE,
    "efficientdet_d0": ENTRIES["efficientdet_d0"],
}
SHORTEST_EDGE = {
    "shortest_edge": {
        "short_edge": retinanets.SHORT_EDGE,
        "max_long_edge": retinanets.LONG_EDGE,
    }
}
LETTERBOX = {"letterbox": {"height": EDGE, "width": EDGE}}
RECIPE = """
name = "saved"
version = "1"
preset = "vindr"
[[classifier]]
name = "one"
architecture = "small_densenet"
checkpoint = "{classifier}"
[detector]
architecture = "{detector}"
checkpoint = "{checkpoint}"
options = {{ {options} }}
[golden]
sizes = [[301, 190], [301, 190], [190, 301]]
batch_sizes = [1, 2]
[bundle.networks.classifier.input.canvas.fixed]
height = 64
width = 64
[bundle.networks.detector.input]
canvas = {canvas}
"""


def inline(value: Any) -> str:
    """Write a TOML value."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k} = {inline(v)}" for k, v in value.items()) + "}"
    return str(value)


def save_detectron2(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write what detectron2's model zoo has: a pickle of arrays, with an author."""
    arrays: dict[str, Any] = {k: v.numpy() for k, v in weights.items()}
    arrays["pixel_mean"] = np.array([102.9801, 115.9465, 122.7717], np.float32)
    arrays["pixel_mean"] = arrays["pixel_mean"].reshape(3, 1, 1)
    arrays["pixel_std"] = np.ones((3, 1, 1), np.float32)
    content = {"model": arrays, "__author__": "Detectron2 Model Zoo"}
    path.write_bytes(pickle.dumps(content))


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> ExportCache:
    """Keep the classifier, which is the same in all of these."""
    return ExportCache(tmp_path_factory.mktemp("kept") / "cache")


@cache
def classifier() -> dict[str, Tensor]:
    """Return a DenseNet as the official code saves it."""
    network = small_densenet(golden_frames(fixed_canvas()), final_relu=False)
    style = SMALL["small_densenet"].styles[0]
    state = network.state_dict()
    return {style.source_key(key): state[key] for key in own_keys(network)}


def exported(
    kept: ExportCache,
    folder: Path,
    detector: str,
    checkpoint: str,
    canvas: Mapping[str, Any] = SHORTEST_EDGE,
    options: Mapping[str, Any] | None = None,
) -> pb.Bundle:
    """Export the file `checkpoint` with a DenseNet, and read what was written."""
    torch.save({"state_dict": classifier(), "epoch": 3}, folder / "densenet.pth")
    text = RECIPE.format(
        classifier="densenet.pth",
        detector=detector,
        checkpoint=checkpoint,
        options=inline(options or {})[1:-1],
        canvas=inline(canvas),
    )
    recipe = write_recipe(folder, text)
    target = folder / "bundle"
    export_bundle(
        recipe,
        target,
        lambda *_: None,
        architectures=ARCHITECTURES,
        resources=Resources(cache=kept),
    )
    return json_format.Parse((target / "bundle.json").read_text(), pb.Bundle())


def record(bundle: pb.Bundle) -> pb.CheckpointRecord:
    (found,) = (r for r in bundle.provenance.checkpoints if r.role == "detector")
    return found


def kept_operators(bundle: pb.Bundle) -> dict[str, str]:
    (form,) = bundle.networks["detector"].forms
    return {node.operator: node.reason for node in form.kept_fp32}


def input_types(path: Path, operator: str) -> set[int]:
    """Return the element types that nodes of an operator read and write."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    graph = model.graph
    values = (*graph.value_info, *graph.input, *graph.output)
    types = {v.name: v.type.tensor_type.elem_type for v in values}
    types |= {item.name: item.data_type for item in graph.initializer}
    names = [
        name
        for node in graph.node
        if node.op_type == operator
        for name in (*node.input, *node.output)
    ]
    assert names
    return {types[name] for name in names}


@pytest.mark.slow
def test_a_faster_rcnn_of_detectron2s_zoo(tmp_path, kept) -> None:
    save_detectron2(tmp_path / "zoo.pkl", faster_rcnns.case("detectron2").file())
    bundle = exported(
        kept, tmp_path, "small_faster_rcnn", "zoo.pkl", options=faster_rcnns.COUNTS
    )
    assert record(bundle).style == "detectron2"
    detector = bundle.networks["detector"]
    assert list(detector.input.mean) == pytest.approx([102.9801, 115.9465, 122.7717])
    assert len([note for note in record(bundle).notes if "own" in note]) == 2
    # Adaptive sampling keeps the operator, in both precisions, and it sees float32.
    assert list(detector.operators) == ["RoiAlign"]
    (form,) = detector.forms
    assert list(form.operators) == ["RoiAlign"]
    assert kept_operators(bundle)["RoiAlign"].startswith("coordinates")
    path = tmp_path / "bundle" / form.file
    types = {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    assert input_types(path, "RoiAlign") == types
    assert onnx.TensorProto.FLOAT16 in input_types(path, "Conv")
    assert detector.HasField("split")


@pytest.mark.slow
def test_a_faster_rcnn_of_torchvision(tmp_path, kept) -> None:
    model = faster_rcnns.torchvision_faster_rcnn("torchvision")
    retinanets.load(model, faster_rcnns.case("torchvision").file())
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    bundle = exported(
        kept, tmp_path, "small_faster_rcnn", "mine.pth", options=faster_rcnns.COUNTS
    )
    assert record(bundle).style == "torchvision"
    detector = bundle.networks["detector"]
    assert detector.input.element_type == pb.ELEMENT_FLOAT32
    assert not detector.operators


@pytest.mark.slow
def test_a_retinanet_of_detectron2s_zoo(tmp_path, kept) -> None:
    save_detectron2(tmp_path / "zoo.pkl", retinanets.case("detectron2").file())
    bundle = exported(kept, tmp_path, "small_retinanet", "zoo.pkl")
    assert record(bundle).style == "detectron2"
    stated = bundle.networks["detector"].input
    assert list(stated.mean) == pytest.approx([102.9801, 115.9465, 122.7717])
    assert any("102.98" in note for note in record(bundle).notes)


@pytest.mark.slow
def test_a_retinanet_with_group_norms_of_torchvision(tmp_path, kept) -> None:
    name = "torchvision_v2"
    model = retinanets.torchvision_retinanet(name)
    retinanets.load(model, retinanets.case(name).file())
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    bundle = exported(kept, tmp_path, "small_retinanet", "mine.pth")
    assert record(bundle).style == name
    reasons = kept_operators(bundle)
    assert reasons["InstanceNormalization"] == "mean and variance of many values"
    path = tmp_path / "bundle" / bundle.networks["detector"].forms[0].file
    assert input_types(path, "InstanceNormalization") == {onnx.TensorProto.FLOAT}


@pytest.mark.slow
def test_an_efficientdet_of_effdets_training(tmp_path, kept) -> None:
    form, model = "effdet", "efficientdet_d0"
    own, _ = calibrated(form)
    reference = effdet_model(effdet_config(model, edge=EDGE))
    reference.load_state_dict(own.state_dict())
    state = effdet_bench(reference).state_dict()
    assert {"anchors.boxes", "model.backbone.conv_stem.weight"} <= state.keys()
    arguments = argparse.Namespace(model=model)
    torch.save({"state_dict": state, "args": arguments}, tmp_path / "best.pth.tar")
    bundle = exported(kept, tmp_path, "efficientdet_d0", "best.pth.tar", LETTERBOX)
    assert record(bundle).style == form
    assert bundle.networks["detector"].detection.clip_before_nms
    assert not bundle.networks["detector"].operators


@pytest.mark.slow
def test_a_sparse_rcnn_of_the_official_code(tmp_path, kept) -> None:
    edge = pb.ShortestEdge(short_edge=160, max_long_edge=256, pad_multiple=32)
    frames = golden_frames(pb.CanvasPolicy(shortest_edge=edge))
    state = small_sparse_rcnn(frames).state_dict()
    torch.save({"model": state, "iteration": 9999}, tmp_path / "model_final.pth")
    bundle = exported(kept, tmp_path, "small_sparse_rcnn", "model_final.pth")
    assert record(bundle).style == "sparsercnn"
    (first, _) = bundle.provenance.checkpoints
    assert (first.style, first.source) == ("vindr", "densenet.pth")
    assert list(first.notes) == ["weights under state_dict"]
