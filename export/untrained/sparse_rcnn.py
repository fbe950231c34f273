"""Untrained weights of a Sparse R-CNN."""

from __future__ import annotations

from typing import Final

import torch
from torch import Generator, nn

from spinert.export.networks.roi_align import Pyramid
from spinert.export.networks.sparse_rcnn import SparseRCNN
from spinert.export.untrained.calibration import (
    LOGIT_STD,
    SHARE_ABOVE_HALF,
    Calibration,
    measure_norms,
    seed_linear,
    standardise,
    vary_channels,
)

__all__ = ["calibrate_sparse_rcnn"]

_DELTA_STD: Final = (0.3, 0.3, 0.15, 0.15)
# A trained head settles: each stage moves its boxes less. Without this, random
# stages amplify a rounding error tenfold each, and no two back ends would agree.
_DAMPING: Final = 0.5
_REGION_WEIGHT: Final = 0.2


def _seed_proposals(network: SparseRCNN, generator: Generator) -> None:
    network.init_proposal_features.weight.normal_(0.0, 1.0, generator=generator)
    boxes = torch.rand(network.init_proposal_boxes.weight.shape, generator=generator)
    boxes[:, :2] = 0.15 + 0.7 * boxes[:, :2]
    boxes[:, 2:] = 0.05 ** boxes[:, 2:]
    network.init_proposal_boxes.weight.copy_(boxes)


@torch.no_grad()
def calibrate_sparse_rcnn(network: nn.Module, calibration: Calibration) -> None:
    """Seed a `SparseRCNN`; boxes of all sizes, two percent of scores above 0.5."""
    if not isinstance(network, SparseRCNN):
        name = type(network).__name__
        raise TypeError(f"a SparseRCNN is calibrated here, not {name}")
    generator = Generator().manual_seed(calibration.seed)
    vary_channels(network, generator)
    seed_linear(network, generator)
    _seed_proposals(network, generator)
    measure_norms(network, network.backbone, calibration.images)
    pyramid = Pyramid.from_levels(network.backbone(calibration.images))
    boxes, features = network.proposals(calibration.sizes)
    for index, stage in enumerate(network.stages):
        stage.inst_interact.norm3.weight.mul_(_REGION_WEIGHT)
        features = stage.interact(pyramid, boxes, features)
        deltas = stage.reg_module(features)
        spread = torch.tensor(_DELTA_STD) * _DAMPING**index
        standardise(stage.bboxes_delta, deltas, spread)
        boxes = stage.refine(boxes, features)
        spread = torch.full((network.spec.classes,), LOGIT_STD)
        standardise(stage.class_logits, stage.cls_module(features), spread)
    logits = stage.classify(features)
    stage.class_logits.bias.sub_(logits.flatten().quantile(1.0 - SHARE_ABOVE_HALF))
