"""Every network that a recipe can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

from spinert.export.checkpoints.styles import (
    SPARSERCNN,
    TORCHVISION_DENSENET,
    TORCHVISION_DENSENET_OLD,
    VINDR_DENSENET,
    Option,
    Style,
)
from spinert.export.networks.densenet import (
    DENSENET121,
    DENSENET169,
    DENSENET201,
    DenseNet,
    DenseNetSpec,
)
from spinert.export.networks.resnet_fpn import ResNetSpec
from spinert.export.networks.roi_align import RoiAlignSpec
from spinert.export.networks.sparse_rcnn import SparseRCNN, SparseRCNNSpec
from spinert.export.untrained import (
    Calibration,
    calibrate_densenet,
    calibrate_sparse_rcnn,
)

__all__ = [
    "ARCHITECTURES",
    "CLASSIFIER",
    "DETECTOR",
    "Architecture",
    "densenet",
    "sparse_rcnn",
]

CLASSIFIER: Final = "classifier"
DETECTOR: Final = "detector"


def _as_they_are(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How to build, load and seed one kind of network."""

    role: str
    """`CLASSIFIER`: (N,3,H,W) to one logit; `DETECTOR`: to boxes and logits."""
    build: Callable[[Mapping[str, Option], int], nn.Module]
    """From the options and the number of classes."""
    styles: tuple[Style, ...]
    """Known key layouts; the first is that of untrained weights."""
    calibrate: Callable[[nn.Module, Calibration], None]
    """Seed in place; leaves weights that exercise the arithmetic."""
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    """What no weight shows, with defaults; styles and recipes override."""
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] = _as_they_are
    """Rewrites tensors (own keys) that mean the same in another form."""
    stride: int = 1
    """Height and width of the input are multiples of this."""


def _one_logit(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a two-label head into one logit: softmax(z)[1] = sigmoid(z1 - z0)."""
    adapted = dict(tensors)
    for key in ("head.heads.0.weight", "head.heads.0.bias"):
        value = tensors[key]
        if value.ndim > 0 and value.shape[0] == 2:
            exact = value.to(torch.float64)
            adapted[key] = (exact[1:] - exact[:1]).to(torch.float32)
    return adapted


def densenet(spec: DenseNetSpec) -> Architecture:
    """Describe a DenseNet classifier of these sizes."""

    def build(options: Mapping[str, Option], _classes: int) -> nn.Module:
        return DenseNet(spec, final_relu=bool(options["final_relu"]))

    return Architecture(
        role=CLASSIFIER,
        build=build,
        styles=(VINDR_DENSENET, TORCHVISION_DENSENET, TORCHVISION_DENSENET_OLD),
        calibrate=calibrate_densenet,
        options=MappingProxyType({"final_relu": False}),
        adapt=_one_logit,
    )


def sparse_rcnn(base: SparseRCNNSpec) -> Architecture:
    """Describe a Sparse R-CNN detector; options replace parts of `base`."""

    def build(options: Mapping[str, Option], classes: int) -> nn.Module:
        backbone = ResNetSpec(
            blocks=base.backbone.blocks,
            stem=base.backbone.stem,
            pyramid=base.backbone.pyramid,
            stride_in_1x1=bool(options["stride_in_1x1"]),
            eps=float(options["frozen_bn_eps"]),
        )
        roi = RoiAlignSpec(
            size=base.roi.size,
            sampling=int(options["roi_sampling"]),
            aligned=bool(options["roi_aligned"]),
        )
        spec = SparseRCNNSpec(
            backbone=backbone,
            roi=roi,
            classes=classes,
            proposals=int(options["proposals"]),
            stages=base.stages,
            heads=base.heads,
            dynamic=base.dynamic,
            feedforward=base.feedforward,
        )
        return SparseRCNN(spec)

    defaults: dict[str, Option] = {
        "proposals": base.proposals,
        "stride_in_1x1": base.backbone.stride_in_1x1,
        "frozen_bn_eps": base.backbone.eps,
        "roi_aligned": base.roi.aligned,
        "roi_sampling": base.roi.sampling,
    }
    return Architecture(
        role=DETECTOR,
        build=build,
        styles=(SPARSERCNN,),
        calibrate=calibrate_sparse_rcnn,
        options=MappingProxyType(defaults),
        stride=32,
    )


ARCHITECTURES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {
        "densenet121": densenet(DENSENET121),
        "densenet169": densenet(DENSENET169),
        "densenet201": densenet(DENSENET201),
        "sparse_rcnn_r50_fpn": sparse_rcnn(SparseRCNNSpec()),
    }
)
