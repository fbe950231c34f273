"""Faster R-CNNs of every style with calibrated weights, and torchvision's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from spinert.export.checkpoints.style import Option
from spinert.export.families.faster_rcnn import faster_rcnn
from spinert.export.networks.faster_rcnn import BoxHeadSpec, FasterRCNNSpec
from spinert.export.networks.grey_input import input_stage
from spinert.export.networks.resnet_fpn import ResNetSpec
from support.detectron2_oracle import Settings, detections_of_faster_rcnn
from support.retinanet_oracle import Detection
from support.retinanets import (
    BLOCKS,
    CLASSES,
    LONG_EDGE,
    SHORT_EDGE,
    Case,
    Grey,
    calibrated,
)
from support.torchvision_models import torchvision_module

__all__ = [
    "ARCHITECTURE",
    "COUNTS",
    "FasterCase",
    "case",
    "oracles",
    "torchvision_faster_rcnn",
]

WIDTH = 64
COUNTS: dict[str, Option] = {"rpn_per_level": 120, "proposals": 80}
"""Small enough for loops; p6 of these images has fewer anchors than a level keeps."""

ARCHITECTURE = faster_rcnn(
    FasterRCNNSpec(backbone=ResNetSpec(blocks=BLOCKS), head=BoxHeadSpec(width=WIDTH))
)
STYLES = {style.name: style for style in ARCHITECTURE.styles}


@dataclass(frozen=True)
class FasterCase(Case):
    """A network with calibrated weights and the bundle that its style asks for."""

    @torch.no_grad()
    def candidates(self, grey: Grey) -> list[Tensor]:
        """Return boxes, scores, labels and status of one frame."""
        return [value[0] for value in self.graph()(*self.inputs(grey))]

    def findings(self, grey: Grey) -> list[Detection]:
        """Go the whole way of a served frame."""
        *answer, status = self.candidates(grey)
        assert not status
        return self.decided(grey, [value.numpy() for value in answer])


@cache
def case(name: str) -> FasterCase:
    """Return a Faster R-CNN of a style."""
    return calibrated(FasterCase, ARCHITECTURE, STYLES[name], **COUNTS)


def oracles(
    own: FasterCase, grey: Grey, *, stride_in_1x1: bool = True, sampling: int = 0
) -> list[Detection]:
    """Return what the oracle of detectron2 finds with the weights of `own`."""
    image, size = own.inputs(grey)
    settings = Settings(
        stride_in_1x1=stride_in_1x1,
        sampling=sampling,
        per_level=int(COUNTS["rpn_per_level"]),
        proposals=int(COUNTS["proposals"]),
    )
    return detections_of_faster_rcnn(
        own.file(),
        input_stage(own.bundle.input)(image, size),
        valid=tuple(size[0].tolist()),
        original=grey.shape,
        settings=settings,
    )


def torchvision_faster_rcnn(name: str, *, frozen: bool = False) -> nn.Module:
    """Return torchvision's model with a backbone of four blocks and a narrow head.

    Args:
        name: Of the style.
        frozen: With frozen batch normalisation, as from published weights.
    """
    resnet = torchvision_module("models.resnet")
    fpn = torchvision_module("models.detection.backbone_utils")
    models = torchvision_module("models.detection.faster_rcnn")
    norms: dict[str, Any] = {}
    if frozen:
        norms["norm_layer"] = torchvision_module("ops.misc").FrozenBatchNorm2d
    body = resnet.ResNet(resnet.Bottleneck, list(BLOCKS), **norms)
    options: dict[str, Any] = {
        "min_size": SHORT_EDGE,
        "max_size": LONG_EDGE,
        "rpn_pre_nms_top_n_test": COUNTS["rpn_per_level"],
        "rpn_post_nms_top_n_test": COUNTS["proposals"],
        "box_predictor": models.FastRCNNPredictor(WIDTH, CLASSES + 1),
    }
    if name == "torchvision_v2":
        backbone = fpn._resnet_fpn_extractor(body, 5, norm_layer=nn.BatchNorm2d)
        rpn_head = models.RPNHead(256, 3, conv_depth=2)
        convs = [256] * 4
        head = models.FastRCNNConvFCHead(
            (256, 7, 7), convs, [WIDTH], norm_layer=nn.BatchNorm2d
        )
        options |= {"rpn_head": rpn_head, "box_head": head}
    else:
        backbone = fpn._resnet_fpn_extractor(body, 5)
        options["box_head"] = models.TwoMLPHead(256 * 7 * 7, WIDTH)
    model: nn.Module = models.FasterRCNN(backbone, **options)
    return model.eval()
