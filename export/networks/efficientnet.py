"""EfficientNet (arXiv 1905.11946) up to its features of stride 8, 16 and 32.

Modules are named as timm names them (`blocks.2.0.conv_dw`). timm has two forms of
every size: `tf_efficientnet_*` keeps TensorFlow's padding and epsilon, the plain one
has PyTorch's. The weights do not show which is meant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["EFFICIENTNETS", "EfficientNet", "EfficientNetSpec", "PaddedConv"]

_STEM: Final = 32
_DIVISOR: Final = 8
_SQUEEZE: Final = 4
_OUTPUTS: Final = (2, 4, 6)


class _Stage(NamedTuple):
    """Blocks of one resolution in the smallest network."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# Table 1 of the paper: EfficientNet-B0.
_STAGES: Final = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


@dataclass(frozen=True, kw_only=True)
class EfficientNetSpec:
    """How much larger than B0, and what the weights do not show."""

    width: float = 1.0
    depth: float = 1.0
    same_padding: bool = True
    """Pad strided convolutions as TensorFlow does: the odd pixel goes last."""
    eps: float = 1e-3
    """Of the batch norms: 1e-3 in TensorFlow, 1e-5 in PyTorch."""

    def channels(self, base: int) -> int:
        """Scale a width to a multiple of 8 that loses at most a tenth."""
        exact = base * self.width
        rounded = max(_DIVISOR, int(exact + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
        return rounded + _DIVISOR if rounded < 0.9 * exact else rounded

    def repeats(self, base: int) -> int:
        """Scale a depth, rounding up."""
        return math.ceil(base * self.depth)

    @property
    def features(self) -> tuple[int, ...]:
        """Channels of the outputs, of stride 8, 16 and 32."""
        return tuple(self.channels(_STAGES[index].channels) for index in _OUTPUTS)


EFFICIENTNETS: Final[Mapping[str, EfficientNetSpec]] = MappingProxyType(
    {
        "b0": EfficientNetSpec(),
        "b1": EfficientNetSpec(width=1.0, depth=1.1),
        "b2": EfficientNetSpec(width=1.1, depth=1.2),
        "b3": EfficientNetSpec(width=1.2, depth=1.4),
        "b4": EfficientNetSpec(width=1.4, depth=1.8),
        "b5": EfficientNetSpec(width=1.6, depth=2.2),
        "b6": EfficientNetSpec(width=1.8, depth=2.6),
    }
)


class PaddedConv(nn.Conv2d):
    """A convolution without bias that divides an even size by its stride."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        same: bool,
        stride: int = 1,
        depthwise: bool = False,
    ) -> None:
        """Pad like TensorFlow's "SAME" or symmetrically; they differ where strided."""
        before = (kernel - stride) // 2
        after = kernel - stride - before
        uneven = same and before != after
        super().__init__(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=0 if uneven else after,
            groups=inputs if depthwise else 1,
            bias=False,
        )
        self.uneven = (before, after, before, after) if uneven else None

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve."""
        return super().forward(functional.pad(x, self.uneven) if self.uneven else x)


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        gate = self.conv_expand(functional.silu(self.conv_reduce(pooled)))
        return x * gate.sigmoid()


class _Block(nn.Module):
    """Depthwise convolution, squeeze-and-excitation and projection."""

    def __init__(self, inputs: int, stage: _Stage, spec: EfficientNetSpec) -> None:
        super().__init__()
        outputs, same = spec.channels(stage.channels), spec.same_padding
        self.skip = inputs == outputs and stage.stride == 1
        self.conv_dw = PaddedConv(
            inputs,
            inputs,
            stage.kernel,
            same=same,
            stride=stage.stride,
            depthwise=True,
        )
        self.bn1 = nn.BatchNorm2d(inputs, eps=spec.eps)
        self.se = _SqueezeExcite(inputs, inputs // _SQUEEZE)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, eps=spec.eps)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The norm of the branch, before it is added."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        out = self.se(functional.silu(self.bn1(self.conv_dw(x))))
        out = self.bn2(self.conv_pw(out))
        return out + x if self.skip else out


class _ExpandingBlock(nn.Module):
    """The same inside a wider space; the squeeze is a share of the narrow one."""

    def __init__(self, inputs: int, stage: _Stage, spec: EfficientNetSpec) -> None:
        super().__init__()
        outputs, same = spec.channels(stage.channels), spec.same_padding
        wide = inputs * stage.expansion
        self.skip = inputs == outputs and stage.stride == 1
        self.conv_pw = nn.Conv2d(inputs, wide, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide, eps=spec.eps)
        self.conv_dw = PaddedConv(
            wide, wide, stage.kernel, same=same, stride=stage.stride, depthwise=True
        )
        self.bn2 = nn.BatchNorm2d(wide, eps=spec.eps)
        self.se = _SqueezeExcite(wide, inputs // _SQUEEZE)
        self.conv_pwl = nn.Conv2d(wide, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs, eps=spec.eps)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The norm of the branch, before it is added."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        out = functional.silu(self.bn1(self.conv_pw(x)))
        out = self.se(functional.silu(self.bn2(self.conv_dw(out))))
        out = self.bn3(self.conv_pwl(out))
        return out + x if self.skip else out


def _blocks(inputs: int, stage: _Stage, spec: EfficientNetSpec) -> nn.Sequential:
    kind = _Block if stage.expansion == 1 else _ExpandingBlock
    blocks = nn.Sequential()
    for index in range(spec.repeats(stage.repeats)):
        own = stage if index == 0 else stage._replace(stride=1)
        blocks.append(kind(inputs, own, spec))
        inputs = spec.channels(stage.channels)
    return blocks


class EfficientNet(nn.Module):
    """timm's `efficientnet_b*` with `features_only=True, out_indices=(2, 3, 4)`."""

    def __init__(self, spec: EfficientNetSpec) -> None:
        """Build all seven stages; the classifier's last convolution is left out."""
        super().__init__()
        channels = spec.channels(_STEM)
        self.conv_stem = PaddedConv(3, channels, 3, same=spec.same_padding, stride=2)
        self.bn1 = nn.BatchNorm2d(channels, eps=spec.eps)
        self.blocks = nn.Sequential()
        for stage in _STAGES:
            self.blocks.append(_blocks(channels, stage, spec))
            channels = spec.channels(stage.channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of stride 8, 16 and 32, float32 (N,C,H/s,W/s).

        Args:
            x: Normalised float32 (N,3,H,W); H and W are multiples of 32.
        """
        x = functional.silu(self.bn1(self.conv_stem(x)))
        outputs = []
        for index, stage in enumerate(self.blocks):
            x = stage(x)
            if index in _OUTPUTS:
                outputs.append(x)
        return outputs
