"""Seeded weights that behave like trained ones as far as arithmetic is concerned.

Plainly random weights hide mistakes: all logits agree and no box moves. These are
calibrated on the golden inputs: activations stay of order one, channels differ in
scale by more than a decade (so that a wrong epsilon shows), the classifier's logits
spread around the threshold and the detector's scores around one half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from spinert.export.networks.densenet import DenseNet
from spinert.export.networks.roi_align import Pyramid
from spinert.export.networks.sparse_rcnn import SparseRCNN

__all__ = ["Calibration", "calibrate_densenet", "calibrate_sparse_rcnn"]

_LOGIT_STD = 1.5
_SHARE_ABOVE_HALF = 0.02
_DELTA_STD = (0.3, 0.3, 0.15, 0.15)
# A trained head settles: each stage moves its boxes less. Without this, random
# stages amplify a rounding error tenfold each, and no two back ends would agree.
_DAMPING = 0.5
_REGION_WEIGHT = 0.2


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Inputs of one network, equal in size, and where its decisions fall."""

    seed: int
    images: Tensor
    """Normalised and filled, float32 (N,3,H,W)."""
    sizes: Tensor
    """int32 (N,2), valid (height, width)."""
    threshold: float
    """Probability at which the classifier's answer changes."""


def _vary_channels(network: nn.Module, generator: Generator) -> None:
    """Give convolutions channels of differing scale, and norms a shape."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.normal_(0.0, math.sqrt(2.0 / fan_in), generator=generator)
            scale = torch.rand((module.out_channels, 1, 1, 1), generator=generator)
            module.weight.mul_(10.0 ** (-1.5 * scale))
            if module.bias is not None:
                module.bias.normal_(0.0, 0.1, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.normal_(1.0, 0.1, generator=generator)
            module.bias.normal_(0.0, 0.1, generator=generator)


def _measure_norms(network: nn.Module, backbone: nn.Module, images: Tensor) -> None:
    """Set the running statistics of every batch norm to those of these images."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    network.train()
    backbone(images)
    network.eval()


def _split(values: Tensor) -> float:
    """Return the middle of the widest gap, so that both sides are occupied."""
    ordered = values.flatten().sort().values
    widest = int(torch.argmax(ordered[1:] - ordered[:-1]))
    return float((ordered[widest] + ordered[widest + 1]) / 2)


@torch.no_grad()
def calibrate_densenet(network: nn.Module, calibration: Calibration) -> None:
    """Seed a `DenseNet`; its logits straddle the threshold with a deviation of 1.5."""
    if not isinstance(network, DenseNet):
        raise TypeError(f"a DenseNet is calibrated here, not {type(network).__name__}")
    generator = Generator().manual_seed(calibration.seed)
    _vary_channels(network, generator)
    _measure_norms(network, network.backbone, calibration.images)
    head = network.head["heads"][0]
    head.weight.normal_(0.0, 1.0, generator=generator)
    raw = network.pooled(calibration.images) @ head.weight[0]
    scale = _LOGIT_STD / float(raw.std(correction=0))
    head.weight.mul_(scale)
    target = math.log(calibration.threshold / (1 - calibration.threshold))
    head.bias.fill_(target - _split(raw * scale))


def _seed_proposals(network: SparseRCNN, generator: Generator) -> None:
    network.init_proposal_features.weight.normal_(0.0, 1.0, generator=generator)
    boxes = torch.rand(network.init_proposal_boxes.weight.shape, generator=generator)
    boxes[:, :2] = 0.15 + 0.7 * boxes[:, :2]
    boxes[:, 2:] = 0.05 ** boxes[:, 2:]
    network.init_proposal_boxes.weight.copy_(boxes)


def _seed_linear(network: nn.Module, generator: Generator) -> None:
    """Redraw every linear map and norm of the head from the one generator."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            deviation = 1.0 / math.sqrt(module.in_features)
            module.weight.normal_(0.0, deviation, generator=generator)
            if module.bias is not None:
                module.bias.normal_(0.0, 0.1, generator=generator)
        elif isinstance(module, nn.LayerNorm):
            module.weight.normal_(1.0, 0.1, generator=generator)
            module.bias.normal_(0.0, 0.1, generator=generator)
    for name, parameter in network.named_parameters():
        if name.endswith("in_proj_weight"):
            deviation = 1.0 / math.sqrt(parameter.shape[1])
            parameter.normal_(0.0, deviation, generator=generator)


def _standardise(linear: nn.Linear, x: Tensor, deviations: Tensor) -> None:
    """Make each output of a linear map zero on average, with these deviations."""
    linear.bias.zero_()
    raw = linear(x).flatten(0, -2)
    linear.weight.mul_((deviations / raw.std(dim=0))[:, None])
    linear.bias.copy_(-linear(x).flatten(0, -2).mean(dim=0))


@torch.no_grad()
def calibrate_sparse_rcnn(network: nn.Module, calibration: Calibration) -> None:
    """Seed a `SparseRCNN`; boxes of all sizes, two percent of scores above 0.5."""
    if not isinstance(network, SparseRCNN):
        name = type(network).__name__
        raise TypeError(f"a SparseRCNN is calibrated here, not {name}")
    generator = Generator().manual_seed(calibration.seed)
    _vary_channels(network, generator)
    _seed_linear(network, generator)
    _seed_proposals(network, generator)
    _measure_norms(network, network.backbone, calibration.images)
    pyramid = Pyramid.from_levels(network.backbone(calibration.images))
    boxes, features = network.proposals(calibration.sizes)
    for index, stage in enumerate(network.stages):
        stage.inst_interact.norm3.weight.mul_(_REGION_WEIGHT)
        features = stage.interact(pyramid, boxes, features)
        deltas = stage.reg_module(features)
        spread = torch.tensor(_DELTA_STD) * _DAMPING**index
        _standardise(stage.bboxes_delta, deltas, spread)
        boxes = stage.refine(boxes, features)
        spread = torch.full((network.spec.classes,), _LOGIT_STD)
        _standardise(stage.class_logits, stage.cls_module(features), spread)
    logits = stage.classify(features)
    stage.class_logits.bias.sub_(logits.flatten().quantile(1.0 - _SHARE_ABOVE_HALF))
