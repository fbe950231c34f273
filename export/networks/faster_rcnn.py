"""Faster R-CNN with a feature pyramid (arXiv 1506.01497, arXiv 1612.03144).

One definition for the three forms in use: detectron2's R50-FPN, torchvision's
`fasterrcnn_resnet50_fpn` and `fasterrcnn_resnet50_fpn_v2`. Modules are named as in
detectron2; what sets the forms apart is in the spec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from spinert.export.networks.box_coding import clipped_boxes, moved_boxes
from spinert.export.networks.resnet_fpn import Conv, ResNetFPN, ResNetSpec
from spinert.export.networks.roi_align import Pyramid, RoiAlignSpec, roi_align
from spinert.export.networks.roi_align_operator import roi_align_by_operator
from spinert.export.networks.rpn import (
    Proposals,
    RankedBoxes,
    RpnHead,
    RpnSpec,
    proposals_from_ranked,
    ranked_boxes,
)

__all__ = [
    "BoxHeadSpec",
    "FasterRCNN",
    "FasterRCNNSpec",
    "ProposalNetwork",
    "RegionNetwork",
]

_DELTA_WEIGHTS: Final = (10.0, 10.0, 5.0, 5.0)

Candidates = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class BoxHeadSpec:
    """The layers between a pooled region and its prediction."""

    convs: int = 0
    """3x3 convolutions with batch normalisation (torchvision v2: 4)."""
    linears: int = 2
    width: int = 1024
    """Outputs of each linear map."""


@dataclass(frozen=True, kw_only=True)
class FasterRCNNSpec:
    """Sizes of the detector, and what its weights do not show."""

    backbone: ResNetSpec = field(default_factory=ResNetSpec)
    rpn: RpnSpec = field(default_factory=RpnSpec)
    roi: RoiAlignSpec = field(
        default_factory=lambda: RoiAlignSpec(sampling=0, row_by_row=True)
    )
    roi_operator: bool = False
    """Pool with the ONNX operator; without a fixed sampling there is no other way."""
    head: BoxHeadSpec = field(default_factory=BoxHeadSpec)
    classes: int = 7
    """Of the bundle: without background."""
    background_first: bool = False
    """Index 0 of the predictor is the background (torchvision), not the last."""
    min_box_edge_px: float = 0.0
    """Candidates with a shorter edge get score 0 (torchvision: 0.01)."""

    @property
    def uses_operator(self) -> bool:
        """Whether the graph contains RoiAlign."""
        return self.roi_operator or self.roi.sampling == 0

    @property
    def candidates(self) -> int:
        """Candidates of a frame: every class of every proposal."""
        return self.rpn.proposals * self.classes


class _BoxHead(nn.Module):
    """Features of a region: detectron2's FastRCNNConvFCHead."""

    def __init__(self, spec: FasterRCNNSpec) -> None:
        super().__init__()
        width = spec.backbone.pyramid
        self.convs = spec.head.convs
        self.linears = spec.head.linears
        for index in range(1, self.convs + 1):
            conv = Conv(width, width, 3, stride=1, eps=spec.backbone.eps)
            self.add_module(f"conv{index}", conv)
        inputs = width * spec.roi.size**2
        for index in range(1, self.linears + 1):
            self.add_module(f"fc{index}", nn.Linear(inputs, spec.head.width))
            inputs = spec.head.width

    def forward(self, x: Tensor) -> Tensor:
        for index in range(1, self.convs + 1):
            x = functional.relu(getattr(self, f"conv{index}")(x))
        x = x.flatten(1)
        for index in range(1, self.linears + 1):
            x = functional.relu(getattr(self, f"fc{index}")(x))
        return x


class _BoxPredictor(nn.Module):
    """Class logits with background, and deltas of each class."""

    def __init__(self, spec: FasterRCNNSpec) -> None:
        super().__init__()
        boxes = spec.classes + int(spec.background_first)
        self.cls_score = nn.Linear(spec.head.width, spec.classes + 1)
        self.bbox_pred = nn.Linear(spec.head.width, 4 * boxes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


class FasterRCNN(nn.Module):
    """The detector from normalised image to every class of every proposal."""

    def __init__(self, spec: FasterRCNNSpec) -> None:
        """Build the network."""
        super().__init__()
        self.spec = spec
        self.backbone = ResNetFPN(spec.backbone)
        rpn_head = RpnHead(spec.backbone.pyramid, spec.rpn)
        self.proposal_generator = nn.ModuleDict({"rpn_head": rpn_head})
        self.roi_heads = nn.ModuleDict(
            {"box_head": _BoxHead(spec), "box_predictor": _BoxPredictor(spec)}
        )

    def forward(
        self, x: Tensor, image_size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detect; nothing is thresholded, and no class is suppressed.

        Args:
            x: Normalised and filled, float32 (N,3,H,W), multiples of 32.
            image_size: int32 (N,2), valid (height, width).

        Returns:
            boxes float32 (N,A,4), scores float32 (N,A), labels int64 (N,A) and
            status int32 (N,), 1 where the proposals' suppression did not settle.
        """
        levels = self.backbone(x)
        ranked = self.ranked(levels, x, image_size)
        proposals = self.proposals(ranked)
        candidates = self.regions(levels, proposals.boxes, image_size)
        return (*candidates, proposals.status)

    def ranked(
        self, levels: list[Tensor], x: Tensor, image_size: Tensor
    ) -> RankedBoxes:
        """Return the boxes that the region proposal network finds on p2..p6."""
        p6 = functional.max_pool2d(levels[-1], 1, stride=2)
        head = self.proposal_generator["rpn_head"]
        return ranked_boxes(head, self.spec.rpn, [*levels, p6], (x, image_size))

    def proposals(self, ranked: RankedBoxes) -> Proposals:
        """Return the best boxes that do not overlap."""
        return proposals_from_ranked(ranked, self.spec.rpn)

    def pooled(self, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Return the features float32 (N*R,C,size,size) of boxes (N,R,4)."""
        roi = self.spec.roi
        if self.spec.uses_operator:
            return roi_align_by_operator(levels, boxes, roi)
        rows = roi_align(Pyramid.from_levels(levels), boxes, roi)
        return rows.transpose(1, 2).reshape(-1, rows.shape[2], roi.size, roi.size)

    def predict(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N*R,classes+1) and deltas (N*R,4*...) of pooled regions."""
        features = self.roi_heads["box_head"](pooled)
        logits, deltas = self.roi_heads["box_predictor"](features)
        return logits, deltas

    def regions(
        self, levels: Sequence[Tensor], proposals: Tensor, image_size: Tensor
    ) -> Candidates:
        """Classify proposals and refine their boxes, per class.

        Args:
            levels: p2..p5, float32 (N,C,H/stride,W/stride).
            proposals: float32 (N,R,4); boxes without width are fillers.
            image_size: int32 (N,2).

        Returns:
            boxes (N,R*classes,4), scores (N,R*classes), labels int64
            (N,R*classes); all 0 where the proposal is a filler or the box too small.
        """
        classes, first = self.spec.classes, int(self.spec.background_first)
        n, count = proposals.shape[:2]
        logits, deltas = self.predict(self.pooled(levels, proposals))
        scores = torch.softmax(logits, dim=1)[:, first : first + classes]
        deltas = deltas.reshape(n, count, -1, 4)[:, :, first : first + classes]
        boxes = moved_boxes(proposals[:, :, None], deltas, _DELTA_WEIGHTS)
        boxes = clipped_boxes(boxes, image_size)
        edges = boxes[..., 2:] - boxes[..., :2]
        shorter = torch.minimum(edges[..., 0], edges[..., 1])
        is_real = (proposals[:, :, 2] > proposals[:, :, 0])[:, :, None]
        is_real = is_real & (shorter >= self.spec.min_box_edge_px)
        labels = torch.arange(classes, device=boxes.device).expand(n, count, -1)
        boxes = torch.where(is_real[..., None], boxes, torch.zeros_like(boxes))
        scores = scores.reshape(n, count, classes)
        scores = torch.where(is_real, scores, torch.zeros_like(scores))
        labels = torch.where(is_real, labels, torch.zeros_like(labels))
        return boxes.reshape(n, -1, 4), scores.flatten(1), labels.flatten(1)

    def proposal_network(self) -> ProposalNetwork:
        """Return the part before the suppression, with the same weights."""
        return ProposalNetwork(self)

    def region_network(self) -> RegionNetwork:
        """Return the part behind the suppression, with the same weights."""
        return RegionNetwork(self)


class ProposalNetwork(nn.Module):
    """The part of a `FasterRCNN` before its suppression."""

    def __init__(self, network: FasterRCNN) -> None:
        """Share the network's modules."""
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, image_size: Tensor) -> tuple[Tensor, ...]:
        """Return p2..p5, boxes float32 (N,L,n,4) and scores float32 (N,L,n).

        The host keeps the boxes of each level that no better one overlaps, then the
        best of all levels; boxes without width are fillers.

        Args:
            x: Normalised and filled, float32 (N,3,H,W), multiples of 32.
            image_size: int32 (N,2), valid (height, width).
        """
        levels = self.network.backbone(x)
        ranked = self.network.ranked(levels, x, image_size)
        return (*levels, ranked.boxes, ranked.scores)


class RegionNetwork(nn.Module):
    """The part of a `FasterRCNN` behind its suppression."""

    def __init__(self, network: FasterRCNN) -> None:
        """Share the network's modules."""
        super().__init__()
        self.network = network

    def forward(
        self,
        p2: Tensor,
        p3: Tensor,
        p4: Tensor,
        p5: Tensor,
        proposals: Tensor,
        image_size: Tensor,
    ) -> Candidates:
        """Return boxes, scores and labels exactly as the whole network does.

        Args:
            p2: float32 (N,C,H/4,W/4); p3 to p5 follow with H/8 to H/32.
            p3: See p2.
            p4: See p2.
            p5: See p2.
            proposals: float32 (N,R,4), filled up with zeros.
            image_size: int32 (N,2), valid (height, width).
        """
        return self.network.regions((p2, p3, p4, p5), proposals, image_size)
