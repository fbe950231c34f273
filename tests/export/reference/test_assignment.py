"""Which anchor learns what, and what it costs: effdet is the oracle."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from support.effdet_models import effdet_config, effdet_model

from spinert.export.networks.efficientdet import AnchorShapes, anchors
from spinert.export.reference.assignment import (
    BACKGROUND,
    LEFT_OUT,
    corners_of,
    targets,
)
from spinert.export.reference.frames import NO_BOX
from spinert.export.reference.losses import detection_losses
from spinert.export.reference.settings import DetectionSettings

EDGE = 256
LESIONS = 5


def drawn(seed: int, frames: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return boxes and labels; some rows hold none, and two lesions share a place."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand((frames, LESIONS, 2), generator=generator) * 180
    edges = 5 + torch.rand((frames, LESIONS, 2), generator=generator) * 120
    boxes = torch.cat((low, (low + edges).clamp(max=EDGE)), dim=-1)
    labels = torch.randint(0, 7, (frames, LESIONS), generator=generator)
    labels[0, 3:] = NO_BOX
    labels[2] = NO_BOX
    boxes[1, 4] = boxes[1, 1]
    return boxes, labels


@pytest.fixture(scope="module")
def effdet_labels():
    effdet_model(effdet_config("tf_efficientdet_d0", edge=EDGE))  # or skip
    module = importlib.import_module("effdet.anchors")
    config = effdet_config("tf_efficientdet_d0", edge=EDGE)
    table = module.Anchors.from_config(config)
    return module.AnchorLabeler(table, 7, match_threshold=0.5)


def expected(labeler, boxes, labels):
    """Return what effdet assigns, in the order of our anchors."""
    classes, codes, _ = labeler.batch_label_anchors(
        list(boxes[..., [1, 0, 3, 2]]), list(labels + 1)
    )
    count = len(boxes)
    flat = [level.reshape(count, -1) for level in classes]
    coded = [level.reshape(count, -1, 4) for level in codes]
    return torch.cat(flat, dim=1), torch.cat(coded, dim=1)


@pytest.mark.parametrize("seed", range(4))
def test_anchors_learn_what_effdet_gives_them(effdet_labels, seed) -> None:
    boxes, labels = drawn(seed)
    # effdet drops rows by a class below 0, before it adds one for the background.
    classes, codes = expected(
        effdet_labels, boxes, torch.where(labels == NO_BOX, -2, labels)
    )
    table = anchors(AnchorShapes(), EDGE, EDGE)
    found = targets(boxes, labels, table, matched_iou=0.5, unmatched_iou=0.5)
    assert torch.equal(found.classes, classes)
    assert (classes >= 0).sum() > 20
    has_class = classes >= 0
    torch.testing.assert_close(
        found.codes[has_class], codes[has_class], atol=1e-4, rtol=1e-4
    )


def test_anchors_between_the_bounds_are_left_out() -> None:
    boxes, labels = drawn(9)
    table = anchors(AnchorShapes(), EDGE, EDGE)
    found = targets(boxes, labels, table, matched_iou=0.5, unmatched_iou=0.4)
    corners = corners_of(table).double().numpy()
    for frame in range(2):
        real = boxes[frame][labels[frame] != NO_BOX].double().numpy()
        low = np.maximum(real[:, None, :2], corners[:, :2])
        high = np.minimum(real[:, None, 2:], corners[:, 2:])
        both = np.clip(high - low, 0, None).prod(-1)
        own, theirs = ((b[..., 2:] - b[..., :2]).prod(-1) for b in (real, corners))
        overlap = both / (own[:, None] + theirs - both)
        best = overlap.max(axis=0)
        best[overlap.argmax(axis=1)] = 1.0
        clear = np.abs(best[:, None] - [0.4, 0.5]).min(axis=1) > 1e-5
        wanted = np.where(best < 0.4, BACKGROUND, np.where(best < 0.5, LEFT_OUT, 0))
        seen = np.minimum(found.classes[frame].numpy(), 0)
        assert (seen == wanted)[clear].all()
        assert (wanted == LEFT_OUT).any()
    assert (found.classes[2] == BACKGROUND).all()


def test_losses_are_those_of_effdet() -> None:
    effdet_model(effdet_config("tf_efficientdet_d0", edge=EDGE))
    module = importlib.import_module("effdet.loss")
    boxes, labels = drawn(3)
    table = anchors(AnchorShapes(), EDGE, EDGE)
    wanted = targets(boxes, labels, table, matched_iou=0.5, unmatched_iou=0.4)
    generator = torch.Generator().manual_seed(1)
    count = table.shape[0]
    logits = 4 * torch.randn((3, count, 7), generator=generator) - 2
    codes = torch.randn((3, count, 4), generator=generator)
    settings = DetectionSettings(focal_gamma=1.7, huber_delta=0.3, box_weight=20.0)
    found = detection_losses(logits, codes, wanted, settings)
    has_class = wanted.classes >= 0
    total, of_class, of_box = module.loss_fn(
        [logits.reshape(3, 1, count, 7).permute(0, 3, 1, 2)],
        [codes.reshape(3, 1, count, 4).permute(0, 3, 1, 2)],
        [wanted.classes.reshape(3, 1, count, 1)],
        [(wanted.codes * has_class[..., None]).reshape(3, 1, count, 4)],
        has_class.sum(),
        7,
        alpha=0.25,
        gamma=1.7,
        delta=0.3,
        box_loss_weight=20.0,
    )
    assert float(found["class"]) == pytest.approx(float(of_class), rel=1e-4)
    assert float(found["box"]) == pytest.approx(float(of_box), rel=1e-4)
    assert float(found["loss"]) == pytest.approx(float(total), rel=1e-4)
