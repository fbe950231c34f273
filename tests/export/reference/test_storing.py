"""Stored weights pass through the export unchanged, but for halves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from google.protobuf import json_format
from safetensors import safe_open
from support.reference_training import (
    ARCHITECTURES,
    CLASSIFIER_EDGE_PX,
    DETECTOR_EDGE_PX,
    order_of,
    render_data,
    write_settings,
)

from spinert.export.architecture import CLASSIFIER, DETECTOR
from spinert.export.checkpoints.mapping import own_keys
from spinert.export.checkpoints.reader import read_tensors
from spinert.export.errors import TrainingError
from spinert.export.families.densenet import VINDR_DENSENET
from spinert.export.pipeline import export_bundle
from spinert.export.reference.frames import frames_from_folder
from spinert.export.reference.inputs import built
from spinert.export.reference.running import train
from spinert.export.reference.stopping import Stop
from spinert.export.reference.storing import NOTICE, half_tensors
from spinert.export.reference.tasks import task_of
from spinert.proto import bundle_pb2 as pb

RECIPE = f"""
name = "reference"
version = "1"
preset = "vindr"
precisions = ["fp32"]
[[classifier]]
architecture = "small_densenet"
checkpoint = "small_densenet.safetensors"
[detector]
architecture = "small_efficientdet"
checkpoint = "small_efficientdet.safetensors"
options = {{ anchor_scale = 2.0 }}
[golden]
sizes = [[160, 120], [160, 120], [120, 160]]
batch_sizes = [1, 2]
[bundle]
notice = "{NOTICE}"
[bundle.networks.classifier.input.canvas.fixed]
height = {CLASSIFIER_EDGE_PX}
width = {CLASSIFIER_EDGE_PX}
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """Return a folder with both networks, briefly trained, and their data."""
    folder = tmp_path_factory.mktemp("stored")
    settings = write_settings(folder)
    data = render_data(folder / "data", settings)
    for name, architecture in ARCHITECTURES.items():
        order = order_of(name, settings, data, folder)
        train(order, Stop(), lambda _line: None, architecture)
    return folder


def averaged(folder: Path, name: str) -> torch.nn.Module:
    """Return the network as training left it, in full precision."""
    table = write_settings(folder).networks[name]
    network = built(table, ARCHITECTURES[name]).eval()
    state = torch.load(folder / f"{name}.checkpoint", weights_only=True)
    network.load_state_dict(state["average"])
    return network


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_a_stored_file_is_the_network_in_halves(stored, name) -> None:
    path = stored / f"{name}.safetensors"
    tensors = read_tensors(path)
    network = averaged(stored, name)
    own = network.state_dict()
    style = ARCHITECTURES[name].styles[0]
    assert tensors.keys() == {style.source_key(key) for key in own_keys(network)}
    for key, value in own.items():
        if key.endswith("num_batches_tracked"):
            continue
        kept = tensors[style.source_key(key)]
        is_half = value.ndim > 1
        assert kept.dtype == (torch.float16 if is_half else torch.float32)
        assert torch.equal(kept, value.to(kept.dtype))


def test_the_header_says_what_the_weights_are(stored) -> None:
    path = stored / "small_efficientdet.safetensors"
    with safe_open(path, "pt") as opened:
        facts = opened.metadata()
    assert "Not for patients" in facts["notice"]
    assert facts["steps"] == "6 of 6"
    assert (facts["architecture"], facts["style"]) == (path.stem, "effdet_tf")
    assert json.loads(facts["data"])["train"]["seed"] == 1
    assert "map50" in json.loads(facts["metrics"])["validation"]
    assert len(facts["recipe_sha256"]) == 64


@pytest.mark.slow
def test_an_exported_bundle_answers_as_the_trained_networks(stored, tmp_path) -> None:
    (stored / "recipe.toml").write_text(RECIPE)
    export_bundle(
        stored / "recipe.toml",
        tmp_path / "bundle",
        lambda *_: None,
        architectures=ARCHITECTURES,
    )
    text = (tmp_path / "bundle" / "bundle.json").read_text()
    bundle = json_format.Parse(text, pb.Bundle())
    assert bundle.notice == NOTICE
    assert [c.style for c in bundle.provenance.checkpoints] == ["vindr", "effdet_tf"]
    answers = {}
    for role, edge in ((CLASSIFIER, CLASSIFIER_EDGE_PX), (DETECTOR, DETECTOR_EDGE_PX)):
        network = bundle.networks[role]
        frames = frames_from_folder(stored / "data" / "validation", role)
        inputs = {"image": frames.images[:2].numpy()}
        if role == DETECTOR:
            inputs["image_size"] = frames.sizes[:2].numpy()
            assert network.input.canvas.letterbox.height == edge
        session = onnxruntime.InferenceSession(tmp_path / "bundle" / network.file)
        answers[role] = session.run(None, inputs)
        expected = expected_of(stored, role, frames.at(torch.arange(2)))
        for ours, theirs in zip(answers[role], expected, strict=True):
            # A half has eleven bits; a few thousand roundings average out.
            bound = 0.02 * np.abs(theirs).max()
            np.testing.assert_allclose(
                np.sort(ours, axis=1), np.sort(theirs, axis=1), atol=bound, rtol=0
            )


@torch.no_grad()
def expected_of(folder: Path, role: str, frames) -> list[np.ndarray]:
    """Return what training computes for these frames."""
    (name,) = (n for n, a in ARCHITECTURES.items() if a.role == role)
    network = averaged(folder, name)
    task = task_of(write_settings(folder).networks[name], ARCHITECTURES[name])
    if role == CLASSIFIER:
        return [network(task.grey(frames.images)).numpy()]
    seen = network(task.grey(frames.images, frames.sizes), frames.sizes)
    return [part.numpy() for part in seen]


def test_a_weight_beyond_half_precision_is_named() -> None:
    network = ARCHITECTURES["small_densenet"].build({"final_relu": False}, 7)
    with torch.no_grad():
        network.head["heads"][0].weight[0, 3] = 70000.0
    with pytest.raises(TrainingError, match=r"head\.heads\.0\.weight: has weights"):
        half_tensors(network, VINDR_DENSENET)
