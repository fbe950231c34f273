"""Untrained weights of an EfficientDet."""

from __future__ import annotations

from typing import Final

import torch
from torch import Generator, Tensor, nn

from spinert.export.networks.efficientdet import EfficientDet
from spinert.export.untrained.calibration import (
    Calibration,
    measure_norms,
    vary_channels,
)

__all__ = ["calibrate_efficientdet"]

_LOGIT_LIMIT: Final = 6.0
_CODE_LIMITS: Final = (0.8, 0.8, 0.4, 0.4)
# Of the maps that D6 and D7 add up without weights: where they are small, a swish is
# almost linear, and cell after cell keeps a rounding as small as it was.
_SUMMED_MAPS: Final = 0.15
# Of networks with this many cells; deeper ones make more of a rounding, and their
# largest anchors make pixels of it.
_CELLS: Final = 3
# Of the candidates that the graph keeps; they are a small share of all anchors.
_SHARE_ABOVE_HALF: Final = 0.06
# A trained residual branch refines what it is added to. Equal random branches would
# amplify a rounding error block by block.
_BRANCH_WEIGHT: Final = 0.2


def _seed_fusion(network: EfficientDet, generator: Generator) -> None:
    """Draw fusion weights; some are negative, which counts as 0."""
    for name, parameter in network.named_parameters():
        if name.endswith("edge_weights"):
            drawn = torch.rand(parameter.shape, generator=generator)
            drawn[0] += 0.5
            drawn[1:] = 1.2 * drawn[1:] - 0.2
            parameter.copy_(drawn)


def _damp_branches(network: EfficientDet) -> None:
    for stage in network.backbone.blocks:
        for block in stage:
            if block.skip:
                block.last_norm.weight.mul_(_BRANCH_WEIGHT)


def _damp_sums(network: EfficientDet) -> None:
    if network.spec.pyramid.weighted:
        return
    for module in network.fpn.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.mul_(_SUMMED_MAPS)
            module.bias.mul_(_SUMMED_MAPS)


def _bound(
    convolution: nn.Conv2d, values: Tensor, limits: Tensor, generator: Generator
) -> None:
    """Make each channel zero on average and no farther from it than a limit.

    Each gets a limit of its own: equal ones would make the best of all channels tie.

    Most places of a radiograph are dark: measured in standard deviations, the few
    others would reach so far that boxes outgrow the image.

    Args:
        convolution: Whose output has one channel for each pair of shape and column.
        values: What it gives now, float32 (N,A,columns), shapes of a cell together.
        limits: float32 (columns,), of which each channel gets 0.6 to 1.
        generator: Draws the shares.
    """
    columns = len(limits)
    shapes = convolution.out_channels // columns
    raw = values.reshape(-1, shapes, columns) - convolution.bias.view(shapes, columns)
    mean = raw.mean(dim=0)
    own = limits * (0.6 + 0.4 * torch.rand(mean.shape, generator=generator))
    scale = own / (raw - mean).abs().amax(dim=0)
    convolution.weight.mul_(scale.reshape(-1, 1, 1, 1))
    convolution.bias.copy_(-(mean * scale).flatten())


@torch.no_grad()
def calibrate_efficientdet(network: nn.Module, calibration: Calibration) -> None:
    """Seed an `EfficientDet`; six percent of its candidates score above 0.5."""
    if not isinstance(network, EfficientDet):
        name = type(network).__name__
        raise TypeError(f"an EfficientDet is calibrated here, not {name}")
    generator = Generator().manual_seed(calibration.seed)
    vary_channels(network, generator)
    _seed_fusion(network, generator)
    _damp_branches(network)
    _damp_sums(network)
    measure_norms(network, network.outputs, calibration.images)
    logits, codes = network.outputs(calibration.images)
    classifier = network.class_net.predict.conv_pw
    share = _CELLS / network.spec.pyramid.repeats
    limits = torch.full((network.spec.classes,), _LOGIT_LIMIT) * share
    _bound(classifier, logits, limits, generator)
    limits = torch.tensor(_CODE_LIMITS) * share
    _bound(network.box_net.predict.conv_pw, codes, limits, generator)
    logits, _ = network.outputs(calibration.images)
    above = round(_SHARE_ABOVE_HALF * network.spec.top_k * logits.shape[0])
    # Between two candidates: a score of exactly 0.5 would flip with any rounding.
    best = logits.flatten().topk(above + 1).values
    classifier.bias.sub_(best[-2:].mean())
