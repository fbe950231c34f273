"""Sparse R-CNN with ResNet-50 and ResNet-101: checkpoints of the official code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from torch import nn

from spinert.export.architecture import DETECTOR, Architecture
from spinert.export.checkpoints.style import Option, Style
from spinert.export.networks.sparse_rcnn import SparseRCNN, SparseRCNNSpec
from spinert.export.options import BN_EPS, SELECTABLE, between
from spinert.export.untrained.sparse_rcnn import calibrate_sparse_rcnn

__all__ = ["ENTRIES", "SPARSERCNN", "SPARSERCNN_COCO", "sparse_rcnn"]

_MARKER: Final = "init_proposal_features.weight"

SPARSERCNN: Final = Style(name="sparsercnn", marker=_MARKER)
"""The VinDr-SpineXR detector: pixel statistics and suppression are the preset's."""

SPARSERCNN_COCO: Final = Style(
    name="sparsercnn_coco",
    marker=_MARKER,
    by_name=True,
    network=MappingProxyType(
        {
            # projects/SparseRCNN/configs/Base-SparseRCNN.yaml, INPUT.FORMAT RGB.
            "input": {
                "mean": [123.675, 116.28, 103.53],
                "std": [58.395, 57.12, 57.375],
                "fill": [0.0, 0.0, 0.0],
            },
            "detection": {"nms_iou": 0.0, "nms_class_wise": False},
        }
    ),
)
"""PeizeSun/SparseR-CNN, trained on COCO: no suppression at all."""


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

    def detection(options: Mapping[str, Option]) -> Mapping[str, Any]:
        # `inference` of both projects takes the best `num_proposals` class scores.
        proposals = int(options["proposals"])
        return {"candidates": proposals, "max_detections": proposals}

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
        styles=(SPARSERCNN, SPARSERCNN_COCO),
        calibrate=calibrate_sparse_rcnn,
        options=MappingProxyType(defaults),
        approximations=frozenset({"roi_sampling"}),
        limits=MappingProxyType(
            {
                # The official code chooses as many candidates as there are proposals.
                "proposals": SELECTABLE,
                "frozen_bn_eps": BN_EPS,
                "roi_sampling": between(1, 16),
            }
        ),
        stride=32,
        available=available,
        detection=detection,
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
