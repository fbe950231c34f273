"""ResNet (arXiv 1512.03385) with a feature pyramid (arXiv 1612.03144).

Modules are named as in detectron2 (`backbone.bottom_up.res2.0.conv1`), whose
`FrozenBatchNorm2d` is a BatchNorm in eval mode.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Conv", "ResNetFPN", "ResNetSpec"]


@dataclass(frozen=True, kw_only=True)
class ResNetSpec:
    """Sizes of a bottleneck ResNet, and what its weights do not show."""

    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    stem: int = 64
    pyramid: int = 256
    stride_in_1x1: bool = False
    """Stride 2 in the first 1x1 convolution (MSRA weights) or in the 3x3."""
    eps: float = 1e-5
    """Of the frozen batch normalisation."""
    levels: tuple[int, ...] = (2, 3, 4, 5)
    """Stages that feed the pyramid, without a gap up to 5: RetinaNet leaves out 2."""
    fpn_norm: bool = False
    """A batch normalisation, and no bias, in the convolutions of the pyramid."""


class Conv(nn.Conv2d):
    """A convolution without bias, followed by `norm`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int, eps: float
    ) -> None:
        """Pad so that stride 1 keeps the size."""
        super().__init__(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise, without activation."""
        return self.norm(super().forward(x))


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, spec: ResNetSpec) -> None:
        super().__init__()
        stride1, stride3 = (stride, 1) if spec.stride_in_1x1 else (1, stride)
        outputs = 4 * width
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = Conv(inputs, outputs, 1, stride=stride, eps=spec.eps)
        self.conv1 = Conv(inputs, width, 1, stride=stride1, eps=spec.eps)
        self.conv2 = Conv(width, width, 3, stride=stride3, eps=spec.eps)
        self.conv3 = Conv(width, outputs, 1, stride=1, eps=spec.eps)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.conv1(x))
        out = functional.relu(self.conv2(out))
        return functional.relu(self.conv3(out) + self.shortcut(x))


class _ResNet(nn.Module):
    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.stem = nn.ModuleDict(
            {"conv1": Conv(3, spec.stem, 7, stride=2, eps=spec.eps)}
        )
        inputs = spec.stem
        for index, blocks in enumerate(spec.blocks):
            width = spec.stem * 2**index
            stage = nn.Sequential()
            for block in range(blocks):
                stride = 2 if index > 0 and block == 0 else 1
                stage.append(_Bottleneck(inputs, width, stride, spec))
                inputs = 4 * width
            self.add_module(f"res{index + 2}", stage)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = functional.relu(self.stem["conv1"](x))
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        outputs = []
        for level in range(2, 6):
            x = getattr(self, f"res{level}")(x)
            outputs.append(x)
        return outputs


def _pyramid_conv(inputs: int, kernel: int, spec: ResNetSpec) -> nn.Conv2d:
    if spec.fpn_norm:
        return Conv(inputs, spec.pyramid, kernel, stride=1, eps=spec.eps)
    return nn.Conv2d(inputs, spec.pyramid, kernel, padding=kernel // 2)


class ResNetFPN(nn.Module):
    """Bottom-up ResNet and top-down pyramid (p2..p5 have strides 4, 8, 16, 32)."""

    def __init__(self, spec: ResNetSpec) -> None:
        """Build both halves with detectron2's module names."""
        super().__init__()
        self.levels = spec.levels
        self.bottom_up = _ResNet(spec)
        for level in spec.levels:
            lateral = _pyramid_conv(spec.stem * 2**level, 1, spec)
            output = _pyramid_conv(spec.pyramid, 3, spec)
            self.add_module(f"fpn_lateral{level}", lateral)
            self.add_module(f"fpn_output{level}", output)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the levels of the spec, each float32 (N,C,H/stride,W/stride).

        Args:
            x: Normalised float32 (N,3,H,W); H and W are multiples of 32.
        """
        return self.pyramid(self.stages(x))

    def stages(self, x: Tensor) -> list[Tensor]:
        """Return C2..C5, the outputs of the bottom-up half, of `forward`'s input."""
        outputs: list[Tensor] = self.bottom_up(x)
        return outputs

    def pyramid(self, stages: list[Tensor]) -> list[Tensor]:
        """Return the levels of the spec, finest first, from C2..C5."""
        sum_: Tensor | None = None
        outputs: list[Tensor] = []
        for level in reversed(self.levels):
            lateral = getattr(self, f"fpn_lateral{level}")(stages[level - 2])
            sum_ = lateral if sum_ is None else lateral + _doubled(sum_)
            outputs.insert(0, getattr(self, f"fpn_output{level}")(sum_))
        return outputs


def _doubled(x: Tensor) -> Tensor:
    """Repeat every pixel 2x2, as ONNX's Resize: expanding is ten times slower."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
