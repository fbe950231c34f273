"""Untrained weights of a DenseNet."""

from __future__ import annotations

import math

import torch
from torch import Generator, nn

from spinert.export.networks.densenet import DenseNet
from spinert.export.untrained.calibration import (
    LOGIT_STD,
    Calibration,
    measure_norms,
    middle_of_widest_gap,
    vary_channels,
)

__all__ = ["calibrate_densenet"]


@torch.no_grad()
def calibrate_densenet(network: nn.Module, calibration: Calibration) -> None:
    """Seed a `DenseNet`; its logits straddle the threshold with a deviation of 1.5."""
    if not isinstance(network, DenseNet):
        raise TypeError(f"a DenseNet is calibrated here, not {type(network).__name__}")
    generator = Generator().manual_seed(calibration.seed)
    vary_channels(network, generator)
    measure_norms(network, network.backbone, calibration.images)
    head = network.head["heads"][0]
    head.weight.normal_(0.0, 1.0, generator=generator)
    raw = network.pooled(calibration.images) @ head.weight[0]
    scale = LOGIT_STD / float(raw.std(correction=0))
    head.weight.mul_(scale)
    target = math.log(calibration.threshold / (1 - calibration.threshold))
    head.bias.fill_(target - middle_of_widest_gap(raw * scale))
