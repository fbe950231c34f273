"""The checkpoint layouts of Faster R-CNN, key by key."""

from __future__ import annotations

import pytest
import torch
from support.torchvision_models import torchvision_module
from torch import Tensor, nn

from spinert.export.checkpoints.mapping import (
    own_keys,
    own_tensors,
    style_from_tensors,
)
from spinert.export.families.faster_rcnn import ENTRIES

ARCHITECTURE = ENTRIES["faster_rcnn_r50_fpn"]
STYLES = {style.name: style for style in ARCHITECTURE.styles}
CLASSES = 7


def network_of(name: str) -> nn.Module:
    options = {**ARCHITECTURE.options, **STYLES[name].options}
    with torch.device("meta"):
        return ARCHITECTURE.build(options, CLASSES)


def file_of(name: str) -> dict[str, Tensor]:
    """Return what torchvision 0.28 saves."""
    models = torchvision_module("models.detection")
    norm = torchvision_module("ops.misc").FrozenBatchNorm2d
    resnet50 = torchvision_module("models.resnet").resnet50
    extractor = torchvision_module("models.detection.backbone_utils")
    with torch.device("meta"):
        if name == "torchvision_v2":
            model = models.fasterrcnn_resnet50_fpn_v2(
                weights=None, weights_backbone=None, num_classes=CLASSES + 1
            )
        elif name == "frozen":
            body = resnet50(weights=None, norm_layer=norm)
            backbone = extractor._resnet_fpn_extractor(body, 3)
            model = models.FasterRCNN(backbone, num_classes=CLASSES + 1)
        else:
            model = models.fasterrcnn_resnet50_fpn(
                weights=None, weights_backbone=None, num_classes=CLASSES + 1
            )
    return dict(model.state_dict())


@pytest.mark.parametrize(
    ("file", "entries", "style"),
    [
        ("frozen", 295, "torchvision"),
        ("torchvision", 348, "torchvision"),
        ("torchvision_v2", 404, "torchvision_v2"),
    ],
)
def test_a_file_of_torchvision_fits_its_style_entry_for_entry(
    file, entries, style
) -> None:
    tensors = file_of(file)
    assert len(tensors) == entries
    found = style_from_tensors(tensors, ARCHITECTURE.styles, "file.pth")
    assert found.name == style
    network = network_of(style)
    own = own_tensors(tensors, network, found, "file.pth")
    state = network.state_dict()
    assert {k: v.shape for k, v in own.items()} == {
        k: state[k].shape for k in own_keys(network)
    }


def test_a_file_of_detectron2_has_the_networks_own_keys() -> None:
    keys = own_keys(network_of("detectron2"))
    assert len(keys) == 295
    shapes = {
        k: tuple(v.shape) for k, v in network_of("detectron2").state_dict().items()
    }
    assert shapes["proposal_generator.rpn_head.conv.weight"] == (256, 256, 3, 3)
    assert shapes["proposal_generator.rpn_head.objectness_logits.weight"][0] == 3
    assert shapes["proposal_generator.rpn_head.anchor_deltas.weight"][0] == 12
    assert shapes["roi_heads.box_head.fc1.weight"] == (1024, 12544)
    assert shapes["roi_heads.box_head.fc2.weight"] == (1024, 1024)
    assert shapes["roi_heads.box_predictor.cls_score.weight"] == (8, 1024)
    assert shapes["roi_heads.box_predictor.bbox_pred.weight"] == (28, 1024)


def test_buffers_of_older_detectron2_files_hold_no_weight() -> None:
    network = network_of("detectron2")
    tensors = {key: torch.zeros(0) for key in own_keys(network)}
    old = {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    for level in range(5):
        key = f"proposal_generator.anchor_generator.cell_anchors.{level}"
        old[key] = torch.zeros(3, 4)
    style = style_from_tensors(tensors | old, ARCHITECTURE.styles, "old.pkl")
    assert style.name == "detectron2"
    assert (
        own_tensors(tensors | old, network, style, "old.pkl").keys() == tensors.keys()
    )


def test_a_file_from_before_torchvision_0_13_lacks_the_inner_indices() -> None:
    new = file_of("torchvision")
    old = {}
    for key, value in new.items():
        key = key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for block in ("inner_blocks", "layer_blocks"):
            for place in range(4):
                key = key.replace(f"{block}.{place}.0.", f"{block}.{place}.")
        old[key] = value
    assert len(old.keys() - new.keys()) == 18
    style = style_from_tensors(old, ARCHITECTURE.styles, "old.pth")
    assert style.name == "torchvision_old"
    own = own_tensors(old, network_of("torchvision_old"), style, "old.pth")
    assert len(own) == 295


@pytest.mark.parametrize("name", list(STYLES))
def test_a_renaming_is_one_to_one(name) -> None:
    keys = own_keys(network_of(name))
    assert len({STYLES[name].source_key(key) for key in keys}) == len(keys)


@pytest.mark.parametrize("name", list(STYLES))
def test_a_style_says_what_every_other_says(name) -> None:
    assert STYLES[name].options.keys() == STYLES["detectron2"].options.keys()
    assert STYLES[name].network.keys() == {"input", "detection"}


def test_candidates_and_operators_follow_from_the_options() -> None:
    base = {**ARCHITECTURE.options, **STYLES["detectron2"].options}
    assert ARCHITECTURE.available(base, CLASSES) == 7000
    assert ARCHITECTURE.available({**base, "proposals": 300}, 2) == 600
    assert ARCHITECTURE.operators(base) == ("RoiAlign",)
    fixed = {**base, "roi_sampling": 2}
    assert ARCHITECTURE.operators(fixed) == ()
    assert ARCHITECTURE.operators({**fixed, "roi_operator": True}) == ("RoiAlign",)
    assert ARCHITECTURE.has_status(base)
