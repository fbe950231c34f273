"""DenseNet (Huang et al., CVPR 2017, arXiv 1608.06993), one logit."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DENSENET121", "DENSENET169", "DENSENET201", "DenseNet", "DenseNetSpec"]


@dataclass(frozen=True, kw_only=True)
class DenseNetSpec:
    """The sizes of a DenseNet-BC with compression one half (table 1 of the paper)."""

    layers: tuple[int, int, int, int]
    growth: int = 32
    stem: int = 64
    bottleneck: int = 4

    @property
    def features(self) -> int:
        """Channels after the last block, the input of the linear head."""
        channels = self.stem
        for index, layers in enumerate(self.layers):
            channels = channels if index == 0 else channels // 2
            channels += layers * self.growth
        return channels


DENSENET121 = DenseNetSpec(layers=(6, 12, 24, 16))
DENSENET169 = DenseNetSpec(layers=(6, 12, 32, 32))
DENSENET201 = DenseNetSpec(layers=(6, 12, 48, 32))


class _Layer(nn.Module):
    """BN-ReLU-Conv(1x1)-BN-ReLU-Conv(3x3), concatenated to its input."""

    def __init__(self, channels: int, spec: DenseNetSpec) -> None:
        super().__init__()
        width = spec.bottleneck * spec.growth
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, spec.growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(functional.relu(self.norm1(x)))
        new = self.conv2(functional.relu(self.norm2(new)))
        return torch.cat((x, new), dim=1)


class _Transition(nn.Module):
    """Halve the channels and the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(self.conv(functional.relu(self.norm(x))), 2)


def _backbone(spec: DenseNetSpec) -> nn.Sequential:
    stem = nn.Sequential(
        nn.Conv2d(3, spec.stem, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(spec.stem),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )
    parts: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
    channels = spec.stem
    for block, layers in enumerate(spec.layers, start=1):
        if block > 1:
            parts[f"transition{block - 1}"] = _Transition(channels)
            channels //= 2
        dense: OrderedDict[str, nn.Module] = OrderedDict()
        for layer in range(1, layers + 1):
            dense[f"denselayer{layer}"] = _Layer(channels, spec)
            channels += spec.growth
        parts[f"block{block}"] = nn.Sequential(dense)
    parts["norm5"] = nn.BatchNorm2d(channels)
    return nn.Sequential(parts)


class DenseNet(nn.Module):
    """A DenseNet with a single-logit head.

    Modules are named as in the official VinDr-SpineXR code
    (spine/classification), so its checkpoints load under their own keys.
    """

    def __init__(self, spec: DenseNetSpec, *, final_relu: bool) -> None:
        """Build the network.

        Args:
            spec: Its sizes.
            final_relu: Apply ReLU after the last normalisation. torchvision does,
                the VinDr-SpineXR code does not, and no weight shows it.
        """
        super().__init__()
        self.spec = spec
        self.final_relu = final_relu
        self.backbone = _backbone(spec)
        self.head = nn.ModuleDict({"heads": nn.ModuleList()})
        self.head["heads"].append(nn.Linear(spec.features, 1))

    def activated(self, features: Tensor) -> Tensor:
        """Return the backbone's features (N,F,h,w) as the head takes them."""
        return functional.relu(features) if self.final_relu else features

    def pooled(self, x: Tensor) -> Tensor:
        """Return the float32 (N,F) input of the head for normalised (N,3,H,W)."""
        return self.activated(self.backbone(x)).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits float32 (N,1) for normalised (N,3,H,W)."""
        return self.head["heads"][0](self.pooled(x))
