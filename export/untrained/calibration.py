"""Seeded weights that behave like trained ones as far as arithmetic is concerned.

Plainly random weights hide mistakes: all logits agree and no box moves. These are
calibrated on the golden inputs: activations stay of order one, channels differ in
scale by more than a decade (so that a wrong epsilon shows), the classifier's logits
spread around the threshold and the detector's scores around one half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Generator, Tensor, nn

__all__ = [
    "LOGIT_STD",
    "SHARE_ABOVE_HALF",
    "Calibration",
    "measure_norms",
    "middle_of_widest_gap",
    "seed_linear",
    "standardise",
    "standardise_maps",
    "values_on_maps",
    "vary_channels",
]

LOGIT_STD: Final = 1.5
SHARE_ABOVE_HALF: Final = 0.02

_RESIDUAL_STD: Final = 0.3
_LAST_OF_BLOCK: Final = "conv3.norm"
"""The norm at the end of a ResNet block."""


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


def vary_channels(network: nn.Module, generator: Generator) -> None:
    """Give convolutions channels of differing scale, and norms a shape.

    What a residual block adds is small beside what it passes on, as in a trained
    network: random blocks of equal strength amplify every rounding error.
    """
    for name, module in network.named_modules():
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
            if name.endswith(_LAST_OF_BLOCK):
                module.weight.mul_(_RESIDUAL_STD)
                module.bias.mul_(_RESIDUAL_STD)


def measure_norms(
    network: nn.Module, part: Callable[[Tensor], object], x: Tensor
) -> None:
    """Set the running statistics of batch norms to those of one pass.

    Args:
        network: All of its norms are told to.
        part: Of the network; only norms that it passes are measured.
        x: What `part` is given.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    network.train()
    part(x)
    network.eval()


def middle_of_widest_gap(values: Tensor) -> float:
    """Return the middle of the widest gap, so that both sides are occupied."""
    ordered = values.flatten().sort().values
    widest = int(torch.argmax(ordered[1:] - ordered[:-1]))
    return float((ordered[widest] + ordered[widest + 1]) / 2)


def seed_linear(network: nn.Module, generator: Generator) -> None:
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


def standardise(linear: nn.Linear, x: Tensor, deviations: Tensor) -> None:
    """Make each output of a linear map zero on average, with these deviations."""
    linear.bias.zero_()
    raw = linear(x).flatten(0, -2)
    linear.weight.mul_((deviations / raw.std(dim=0))[:, None])
    linear.bias.copy_(-linear(x).flatten(0, -2).mean(dim=0))


def values_on_maps(conv: nn.Module, maps: Sequence[Tensor]) -> Tensor:
    """Return a convolution's outputs on all maps and frames, (C, positions)."""
    outputs = [conv(level).transpose(0, 1).flatten(1) for level in maps]
    return torch.cat(outputs, dim=1)


def standardise_maps(
    conv: nn.Conv2d, maps: Sequence[Tensor], deviations: Tensor
) -> None:
    """Make each output channel zero on average, with these deviations (C,)."""
    conv.bias.zero_()
    factors = deviations / values_on_maps(conv, maps).std(dim=1)
    conv.weight.mul_(factors[:, None, None, None])
    conv.bias.copy_(-values_on_maps(conv, maps).mean(dim=1))
