"""Untrained weights of a Faster R-CNN."""

from __future__ import annotations

from typing import Final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from spinert.export.networks.faster_rcnn import FasterRCNN
from spinert.export.untrained.calibration import (
    LOGIT_STD,
    SHARE_ABOVE_HALF,
    Calibration,
    measure_norms,
    seed_linear,
    standardise,
    standardise_maps,
    vary_channels,
)

__all__ = ["calibrate_faster_rcnn"]

# Anchors of a cell and its neighbours overlap by more than the suppression allows;
# deltas of this size leave most of them so, as trained ones do.
_ANCHOR_DELTA_STD: Final = (0.15, 0.15, 0.2, 0.2)
# Trained ones are negative nearly everywhere. Were they large, probabilities would be
# 1 and nothing would tell the proposals apart.
_OBJECTNESS_STD: Final = 2.0
_OBJECTNESS_MEAN: Final = -4.0
# Divided by 10, 10, 5, 5 in the network.
_BOX_DELTA_STD: Final = (1.0, 1.0, 1.0, 1.0)
_BISECTIONS: Final = 30
_CLEAR_OF_HALF: Final = 0.01
"""Logits."""


def _settle_levels(network: FasterRCNN, images: Tensor) -> list[Tensor]:
    """Bring every level to deviation one; return p2..p6."""
    backbone = network.backbone
    stages = backbone.stages(images)
    for place, level in enumerate(backbone.levels):
        output = getattr(backbone, f"fpn_output{level}")
        factor = 1.0 / backbone.pyramid(stages)[place].std()
        scaled = output.norm if network.spec.backbone.fpn_norm else output
        scaled.weight.mul_(factor)
        scaled.bias.mul_(factor)
    levels = backbone.pyramid(stages)
    return [*levels, functional.max_pool2d(levels[-1], 1, stride=2)]


def _settle_proposals(network: FasterRCNN, levels: list[Tensor]) -> None:
    head = network.proposal_generator["rpn_head"]
    convs = [m for m in head.conv.modules() if isinstance(m, nn.Conv2d)]
    maps = levels
    for conv in convs:
        standardise_maps(conv, maps, torch.ones(conv.out_channels))
        maps = [functional.relu(conv(level)) for level in maps]
    per_cell = network.spec.rpn.anchors.per_cell
    deviations = torch.full((per_cell,), _OBJECTNESS_STD)
    standardise_maps(head.objectness_logits, maps, deviations)
    head.objectness_logits.bias.add_(_OBJECTNESS_MEAN)
    deviations = torch.tensor(_ANCHOR_DELTA_STD).repeat(per_cell)
    standardise_maps(head.anchor_deltas, maps, deviations)


def _settle_regions(network: FasterRCNN, pooled: Tensor) -> None:
    head, predictor = network.roi_heads["box_head"], network.roi_heads["box_predictor"]
    x = pooled
    for layer in head.children():
        if isinstance(layer, nn.Linear):
            x = x.flatten(1)
            standardise(layer, x, torch.ones(layer.out_features))
        else:
            measure_norms(layer, layer, x)
        x = functional.relu(layer(x))
    boxes = predictor.bbox_pred.out_features // len(_BOX_DELTA_STD)
    deviations = torch.tensor(_BOX_DELTA_STD).repeat(boxes)
    standardise(predictor.bbox_pred, x, deviations)
    score = predictor.cls_score
    standardise(score, x, torch.full((score.out_features,), LOGIT_STD))
    _settle_background(network, score(x))


def _settle_background(network: FasterRCNN, logits: Tensor) -> None:
    """Raise the background until the wanted share of candidates is above 0.5."""
    classes = network.spec.classes
    index = 0 if network.spec.background_first else classes
    others = torch.ones(classes + 1, dtype=torch.bool)
    others[index] = False
    low, high = -20.0, 20.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        raised = logits.clone()
        raised[:, index] += middle
        share = (torch.softmax(raised, dim=1)[:, others] > 0.5).float().mean()
        low, high = (middle, high) if share > SHARE_ABOVE_HALF else (low, middle)
    bias = network.roi_heads["box_predictor"].cls_score.bias
    # Not exactly where a score is 0.5: that would flip with any rounding.
    bias[index] += high + _CLEAR_OF_HALF


@torch.no_grad()
def calibrate_faster_rcnn(network: nn.Module, calibration: Calibration) -> None:
    """Seed a `FasterRCNN`; proposals overlap, two percent of scores above 0.5."""
    if not isinstance(network, FasterRCNN):
        name = type(network).__name__
        raise TypeError(f"a FasterRCNN is calibrated here, not {name}")
    generator = Generator().manual_seed(calibration.seed)
    vary_channels(network, generator)
    seed_linear(network, generator)
    images, sizes = calibration.images, calibration.sizes
    measure_norms(network, network.backbone, images)
    levels = _settle_levels(network, images)
    _settle_proposals(network, levels)
    ranked = network.ranked(levels[:-1], images, sizes)
    boxes = network.proposals(ranked).boxes
    is_real = (boxes[:, :, 2] > boxes[:, :, 0]).flatten()
    _settle_regions(network, network.pooled(levels[:-1], boxes)[is_real])
