"""Sparse R-CNN with ResNet-50 and ResNet-101: checkpoints of the official code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from torch import nn

from spinert.export.architecture import DETECTOR, Architecture
from spinert.export.checkpoints.style import Option, Style
from spinert.export.networks.sparse_rcnn import SparseRCNN, SparseRCNNSpec
from spinert.export.untrained.sparse_rcnn import calibrate_sparse_rcnn

__all__ = ["ENTRIES", "SPARSERCNN", "sparse_rcnn"]

SPARSERCNN: Final = Style(name="sparsercnn", marker="init_proposal_features.weight")
"""PeizeSun/SparseR-CNN and the VinDr-SpineXR detector."""


def sparse_rcnn(base: SparseRCNNSpec) -> Architecture:
    """Describe a Sparse R-CNN detector; options replace parts of `base`."""

    def build(options: Mapping[str, Option], classes: int) -> nn.Module:
        backbone = replace(
            base.backbone,
            stride_in_1x1=bool(options["stride_in_1x1"]),
            eps=float(options["frozen_bn_eps"]),
        )
        roi = replace(
            base.roi,
            sampling=int(options["roi_sampling"]),
            aligned=bool(options["roi_aligned"]),
        )
        proposals = int(options["proposals"])
        spec = replace(
            base, backbone=backbone, roi=roi, classes=classes, proposals=proposals
        )
        return SparseRCNN(spec)

    def available(options: Mapping[str, Option], classes: int) -> int:
        return int(options["proposals"]) * classes

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
        available=available,
        shown=MappingProxyType({"proposals": ("init_proposal_boxes.weight", 0)}),
    )


_R50: Final = SparseRCNNSpec()
_R101: Final = replace(_R50, backbone=replace(_R50.backbone, blocks=(3, 4, 23, 3)))

ENTRIES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {
        "sparse_rcnn_r50_fpn": sparse_rcnn(_R50),
        "sparse_rcnn_r101_fpn": sparse_rcnn(_R101),
    }
)
