"""Key layouts of RetinaNet checkpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.retinanets import (
    ARCHITECTURE,
    CLASSES,
    STYLES,
    case,
    load,
    torchvision_retinanet,
)
from support.torchvision_models import torchvision_module
from torch import nn

from spinert.export.checkpoints.mapping import own_keys, own_tensors, style_from_tensors
from spinert.export.checkpoints.style import Style
from spinert.export.errors import CheckpointError
from spinert.export.families.retinanet import ENTRIES


def full_network(name: str) -> tuple[nn.Module, Style]:
    architecture = ENTRIES["retinanet_r50_fpn"]
    style = STYLES[name]
    options = {**architecture.options, **style.options}
    with torch.device("meta"):
        return architecture.build(options, CLASSES), style


def test_a_detectron2_file_has_301_entries() -> None:
    network, style = full_network("detectron2")
    state = network.state_dict()
    keys = {style.source_key(key): state[key].shape for key in own_keys(network)}
    assert len(keys) == 301
    assert keys["backbone.top_block.p6.weight"] == (256, 2048, 3, 3)
    assert keys["head.cls_score.weight"] == (63, 256, 3, 3)
    assert keys["head.bbox_pred.weight"] == (36, 256, 3, 3)
    assert "head.cls_subnet.6.bias" in keys
    assert "backbone.bottom_up.res5.2.conv3.norm.running_var" in keys


@pytest.mark.parametrize(
    ("style", "model", "entries"),
    [
        ("torchvision", "retinanet_resnet50_fpn", 354),
        ("torchvision_v2", "retinanet_resnet50_fpn_v2", 362),
    ],
)
def test_the_full_networks_have_the_entries_of_torchvisions(
    style, model, entries
) -> None:
    network, layout = full_network(style)
    with torch.device("meta"):
        build = getattr(torchvision_module("models.detection"), model)
        theirs = build(weights=None, weights_backbone=None, num_classes=CLASSES)
    assert len(theirs.state_dict()) == entries
    state = network.state_dict()
    expected = {
        key: value.shape
        for key, value in theirs.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    found = {layout.source_key(key): state[key].shape for key in own_keys(network)}
    assert found == expected


def test_keys_of_before_torchvision_0_13_load_into_torchvision() -> None:
    plain = case("torchvision")
    old = replace(plain, style=STYLES["torchvision_old"]).file()
    assert "head.regression_head.conv.6.bias" in old
    assert "backbone.fpn.inner_blocks.2.weight" in old
    model = load(torchvision_retinanet("torchvision"), old)
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.file().items())


@pytest.mark.parametrize("name", STYLES)
def test_every_style_is_recognised_by_its_own_keys(name) -> None:
    style = STYLES[name]
    base = "torchvision" if name == "torchvision_old" else name
    tensors = replace(case(base), style=style).file()
    assert style_from_tensors(tensors, ARCHITECTURE.styles, "file") is style
    own = own_tensors(tensors, case(base).network, style, "file")
    assert len(own) == len(tensors)


def test_buffers_of_early_detectron2_files_are_no_weights() -> None:
    plain = case("detectron2")
    buffers = {f"anchor_generator.cell_anchors.{n}": torch.ones(9, 4) for n in range(5)}
    buffers |= {"pixel_mean": torch.ones(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    tensors = plain.file() | buffers
    own = own_tensors(tensors, plain.network, plain.style, "file")
    assert own.keys().isdisjoint(buffers)
    with pytest.raises(CheckpointError, match=r"head\.extra"):
        own_tensors(
            tensors | {"head.extra": torch.ones(1)}, plain.network, plain.style, "file"
        )
