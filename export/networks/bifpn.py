"""The weighted two-way pyramid of EfficientDet (arXiv 1911.09070, section 3).

Modules are named as in rwightman/efficientdet-pytorch (`effdet` 0.4.1). Neighbouring
levels differ by exactly 2 in size, because the input is a multiple of 128; effdet's
general resampling is then nearest doubling and 3x3 max pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from spinert.export.networks.efficientnet import PaddedConv

__all__ = ["LEVELS", "BiFPN", "BiFPNSpec", "SeparableConv"]

LEVELS: Final = 5
"""P3 to P7: strides 8 to 128."""

# Level of each map and the maps it is made of: 0 to 4 come in as P3 to P7, 5 to 8 run
# down from P6 to P3, 9 to 12 up from P4 to P7. The last five go out.
_NODES: Final = (
    (3, (3, 4)),
    (2, (2, 5)),
    (1, (1, 6)),
    (0, (0, 7)),
    (1, (1, 7, 8)),
    (2, (2, 6, 9)),
    (3, (3, 5, 10)),
    (4, (4, 11)),
)
_EPS: Final = 1e-3  # of every norm outside the backbone, in all forms
_WEIGHT_EPS: Final = 1e-4


@dataclass(frozen=True, kw_only=True)
class BiFPNSpec:
    """Sizes, and what the weights do not show."""

    channels: int = 64
    repeats: int = 3
    weighted: bool = True
    """Fast normalised fusion (equation 3 of the paper), or the plain sum (D6, D7)."""
    same_padding: bool = True
    """Pool as TensorFlow's "SAME" does: the odd pixel is added last."""
    redundant_bias: bool = True
    """Convolutions have a bias although a norm follows; the weights show it."""


class SeparableConv(nn.Module):
    """A 3x3 depthwise and a 1x1 convolution, and the norm where there is one."""

    def __init__(
        self, inputs: int, outputs: int, *, same: bool, bias: bool, norm: bool
    ) -> None:
        """Take the padding and whether the 1x1 convolution has a bias."""
        super().__init__()
        self.conv_dw = PaddedConv(inputs, inputs, 3, same=same, depthwise=True)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=bias)
        self.bn = nn.BatchNorm2d(outputs, eps=_EPS) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; no activation."""
        return self.bn(self.conv_pw(self.conv_dw(x)))


def _doubled(x: Tensor) -> Tensor:
    """Repeat every pixel 2x2: nearest upsampling, exactly."""
    n, channels, height, width = x.shape
    wide = x.view(n, channels, height, 1, width, 1).expand(-1, -1, -1, 2, -1, 2)
    return torch.reshape(wide, (n, channels, 2 * height, 2 * width))


class _Resample(nn.Module):
    """Bring a map to the channels of the pyramid and to a neighbour's size."""

    def __init__(self, inputs: int, steps: int, spec: BiFPNSpec) -> None:
        """Take the number of levels to go up, -1 to 1."""
        super().__init__()
        self.steps = steps
        self.padding = 0 if spec.same_padding else 1
        if inputs != spec.channels:
            self.conv = nn.Sequential()
            convolution = nn.Conv2d(inputs, spec.channels, 1, bias=spec.redundant_bias)
            self.conv.add_module("conv", convolution)
            self.conv.add_module("bn", nn.BatchNorm2d(spec.channels, eps=_EPS))
        else:
            self.conv = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.steps < 0:
            return _doubled(x)
        if self.steps == 0:
            return x
        # An even size and no padding: the last window hangs over by one pixel, which
        # ceil_mode allows. That is "SAME" without a padded copy.
        return functional.max_pool2d(
            x, 3, stride=2, padding=self.padding, ceil_mode=self.padding == 0
        )


class _Combine(nn.Module):
    """The weighted sum of two or three maps."""

    def __init__(
        self, level: int, offsets: Sequence[int], inputs: Sequence[int], spec: BiFPNSpec
    ) -> None:
        """Take this map's level and which maps it sums; `inputs` are channels."""
        super().__init__()
        levels = (*range(LEVELS), *(node[0] for node in _NODES))
        self.offsets = tuple(offsets)
        self.resample = nn.ModuleDict(
            {
                str(offset): _Resample(
                    inputs[offset] if offset < LEVELS else spec.channels,
                    level - levels[offset],
                    spec,
                )
                for offset in offsets
            }
        )
        self.edge_weights: nn.Parameter | None = None
        if spec.weighted:
            self.edge_weights = nn.Parameter(torch.ones(len(offsets)))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        resampled = [
            resample(maps[offset])
            for offset, resample in zip(
                self.offsets, self.resample.values(), strict=True
            )
        ]
        if self.edge_weights is not None:
            weights = functional.relu(self.edge_weights)
            shares = weights / (weights.sum() + _WEIGHT_EPS)
            resampled = [x * shares[i] for i, x in enumerate(resampled)]
        total = resampled[0]
        for x in resampled[1:]:
            total = total + x
        return total


class _Node(nn.Module):
    def __init__(
        self, level: int, offsets: Sequence[int], inputs: Sequence[int], spec: BiFPNSpec
    ) -> None:
        super().__init__()
        self.combine = _Combine(level, offsets, inputs, spec)
        convolution = SeparableConv(
            spec.channels,
            spec.channels,
            same=spec.same_padding,
            bias=spec.redundant_bias,
            norm=True,
        )
        self.after_combine = nn.ModuleDict({"conv": convolution})

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return self.after_combine["conv"](functional.silu(self.combine(maps)))


class _Cell(nn.Module):
    def __init__(self, inputs: Sequence[int], spec: BiFPNSpec) -> None:
        super().__init__()
        self.fnode = nn.ModuleList(
            _Node(level, offsets, inputs, spec) for level, offsets in _NODES
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = list(maps)
        for node in self.fnode:
            maps.append(node(maps))
        return maps[-LEVELS:]


class BiFPN(nn.Module):
    """P6 and P7 on top of the backbone, then repeated two-way cells."""

    def __init__(self, features: Sequence[int], spec: BiFPNSpec) -> None:
        """Take the channels of the backbone's three outputs."""
        super().__init__()
        self.resample = nn.ModuleDict(
            {
                "3": _Resample(features[-1], 1, spec),
                "4": _Resample(spec.channels, 1, spec),
            }
        )
        added = [spec.channels] * (LEVELS - len(features))
        self.cell = nn.Sequential()
        for index in range(spec.repeats):
            own = [*features, *added] if index == 0 else [spec.channels] * LEVELS
            self.cell.append(_Cell(own, spec))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return P3 to P7, each float32 (N,channels,H/stride,W/stride).

        Args:
            features: Of stride 8, 16 and 32.
        """
        maps = list(features)
        for resample in self.resample.values():
            maps.append(resample(maps[-1]))
        for cell in self.cell:
            maps = cell(maps)
        return maps
