"""Weights to begin with, and their moving average."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from spinert.export.networks.efficientdet import EfficientDet

__all__ = ["PRIOR_BIAS", "MovingAverage", "seed_weights"]

_PRIOR: Final = 0.01
PRIOR_BIAS: Final = -math.log((1 - _PRIOR) / _PRIOR)
"""Logit of the probability that an untrained network gives to every class of every
place (arXiv 1708.02002, section 3.3): without it the background drowns all else."""
_BOX_DEVIATION: Final = 0.001


def _seed_convolution(module: nn.Conv2d) -> None:
    """Keep the variance of activations, He et al. 2015 (fan-out)."""
    height, width = module.kernel_size
    fan_out = height * width * module.out_channels // module.groups
    nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def seed_weights(network: nn.Module, seed: int) -> None:
    """Give a network the weights that its training begins with."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            _seed_convolution(module)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            nn.init.zeros_(module.bias)
    if isinstance(network, EfficientDet):
        last = network.class_net.predict.conv_pw
        nn.init.normal_(last.weight, 0.0, 0.01)
        nn.init.constant_(last.bias, PRIOR_BIAS)
        nn.init.normal_(network.box_net.predict.conv_pw.weight, 0.0, _BOX_DEVIATION)


class MovingAverage:
    """The average of a network's weights and statistics over the last steps.

    Early averages are over fewer: the decay rises as (1 + step) / (10 + step).
    """

    def __init__(self, network: nn.Module, kept: nn.Module, decay: float) -> None:
        """Average `network` into `kept`, which has the same structure."""
        self.network = kept.eval()
        self._decay = decay
        kept.load_state_dict(network.state_dict())
        ours, theirs = self.network.state_dict(), network.state_dict()
        floating = [key for key, value in ours.items() if value.is_floating_point()]
        self._ours: list[Tensor] = [ours[key] for key in floating]
        self._theirs: list[Tensor] = [theirs[key].detach() for key in floating]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._ours, self._theirs, 1 - decay)
