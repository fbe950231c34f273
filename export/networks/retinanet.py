"""RetinaNet (Lin et al., ICCV 2017, arXiv 1708.02002).

Modules are named as in detectron2 (`backbone`, `head.cls_subnet.0`, ...). torchvision's
two variants are the same network with other settings: see `RetinaNetSpec`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from spinert.export.networks.anchors import (
    AnchorLevel,
    AnchorSpec,
    anchor_levels,
    by_anchor,
    octaves,
)
from spinert.export.networks.box_coding import clipped_boxes, moved_boxes
from spinert.export.networks.resnet_fpn import ResNetFPN, ResNetSpec

__all__ = [
    "DETECTRON2_ANCHORS",
    "TORCHVISION_ANCHORS",
    "RetinaNet",
    "RetinaNetHead",
    "RetinaNetSpec",
]

_BASES: Final = (32, 64, 128, 256, 512)
_STRIDES: Final = (8, 16, 32, 64, 128)
_DEPTH: Final = 4
# Far below every logit, small enough for half precision; its sigmoid is 0 in float32.
_NO_LOGIT: Final = -1e4

DETECTRON2_ANCHORS: Final = AnchorSpec(sizes=octaves(_BASES), strides=_STRIDES)
"""Base-RetinaNet.yaml."""

TORCHVISION_ANCHORS: Final = AnchorSpec(
    sizes=tuple(tuple(float(int(size)) for size in row) for row in octaves(_BASES)),
    strides=_STRIDES,
    torchvision_form=True,
)
"""torchvision/models/detection/retinanet.py `_default_anchorgen`."""


@dataclass(frozen=True, kw_only=True)
class RetinaNetSpec:
    """Sizes of the detector, and what its weights do not show."""

    backbone: ResNetSpec = field(default_factory=lambda: ResNetSpec(levels=(3, 4, 5)))
    classes: int = 7
    """Of the bundle; a background class is not among them."""
    background_first: bool = False
    """Trained with an unused class 0 in front, as torchvision's users often do."""
    p6_from_p5: bool = False
    """P6 is made of P5 (torchvision v1) or of C5 (detectron2, torchvision v2)."""
    head_groups: int = 0
    """Groups of the normalisation in the towers (torchvision v2: 32), whose
    convolutions then have no bias; 0: no normalisation."""
    anchors: AnchorSpec = DETECTRON2_ANCHORS
    top_k: int = 1000
    """Best class scores that each level passes on."""
    clip_boxes: bool = False
    """Cut boxes to the image before NMS (torchvision) or leave it to the host."""

    @property
    def logits(self) -> int:
        """Class scores of one anchor."""
        return self.classes + int(self.background_first)

    @property
    def candidates(self) -> int:
        """Candidates of one frame."""
        return len(self.anchors.strides) * self.top_k


class _Backbone(ResNetFPN):
    """The pyramid p3..p7: two strided convolutions follow P5."""

    def __init__(self, spec: RetinaNetSpec) -> None:
        super().__init__(spec.backbone)
        width = spec.backbone.pyramid
        deepest = spec.backbone.stem * 2**5
        self.p6_from_p5 = spec.p6_from_p5
        source = width if spec.p6_from_p5 else deepest
        self.top_block = nn.ModuleDict(
            {
                "p6": nn.Conv2d(source, width, 3, stride=2, padding=1),
                "p7": nn.Conv2d(width, width, 3, stride=2, padding=1),
            }
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        stages = self.stages(x)
        levels = self.pyramid(stages)
        source = levels[-1] if self.p6_from_p5 else stages[-1]
        p6 = self.top_block["p6"](source)
        p7 = self.top_block["p7"](functional.relu(p6))
        return [*levels, p6, p7]


class _TowerConv(nn.Conv2d):
    """One layer of a tower, without its activation."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__(width, width, 3, padding=1, bias=groups == 0)
        self.norm: nn.Module = nn.GroupNorm(groups, width) if groups else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


def _tower(width: int, groups: int) -> nn.Sequential:
    tower = nn.Sequential()
    for _ in range(_DEPTH):
        tower.append(_TowerConv(width, groups))
        tower.append(nn.ReLU())
    return tower


class RetinaNetHead(nn.Module):
    """Two towers that all levels share."""

    def __init__(self, spec: RetinaNetSpec) -> None:
        """Build towers and predictors."""
        super().__init__()
        width, per_cell = spec.backbone.pyramid, spec.anchors.per_cell
        self.classes = spec.logits
        self.cls_subnet = _tower(width, spec.head_groups)
        self.bbox_subnet = _tower(width, spec.head_groups)
        self.cls_score = nn.Conv2d(width, per_cell * spec.logits, 3, padding=1)
        self.bbox_pred = nn.Conv2d(width, per_cell * 4, 3, padding=1)

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Predict for every anchor of one level, in the order of `AnchorLevel`.

        Args:
            level: float32 (N,C,H,W).

        Returns:
            logits (N,A,classes) and deltas (N,A,4), A = H * W * anchors of a cell.
        """
        logits = self.cls_score(self.cls_subnet(level))
        deltas = self.bbox_pred(self.bbox_subnet(level))
        return by_anchor(logits, self.classes), by_anchor(deltas, 4)


class RetinaNet(nn.Module):
    """The detector from normalised image to the best candidates of each level."""

    def __init__(self, spec: RetinaNetSpec) -> None:
        """Build the network."""
        super().__init__()
        self.spec = spec
        self.backbone = _Backbone(spec)
        self.head = RetinaNetHead(spec)

    def forward(self, x: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the `top_k` best class scores of each level with their boxes.

        The original drops scores up to a floor before it selects. The order of the
        two does not matter: what is above the floor comes first in the selection.

        Args:
            x: Normalised and filled, float32 (N,3,H,W), multiples of 32.
            image_size: int32 (N,2), valid (height, width).

        Returns:
            boxes float32 (N,A,4), scores float32 (N,A), labels int64 (N,A); where a
            level has fewer scores than `top_k`, boxes, scores and labels are 0.
        """
        maps = self.backbone(x)
        anchors = anchor_levels(self.spec.anchors, maps, x)
        found = []
        for level, own in zip(maps, anchors, strict=True):
            logits, deltas = self.head(level)
            found.append(self._selected(logits, deltas, own))
        boxes, scores, labels = (
            torch.cat(parts, dim=1) for parts in zip(*found, strict=True)
        )
        if self.spec.clip_boxes:
            boxes = clipped_boxes(boxes, image_size)
        return boxes, scores, labels

    def _selected(
        self, logits: Tensor, deltas: Tensor, anchors: AnchorLevel
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Select on one level.

        Dummies behind the real scores keep the selection's size fixed. Logits are
        selected in place of scores: the same order, and fewer ties.
        """
        flat = logits.flatten(1)
        dummies = flat.new_full((1, self.spec.top_k), _NO_LOGIT)
        padded = torch.cat((flat, dummies.expand(flat.shape[0], -1)), dim=1)
        best, index = torch.topk(padded, self.spec.top_k, dim=1)
        is_real = index < flat.shape[1]
        anchor = torch.div(index, self.spec.logits, rounding_mode="floor")
        label = index - anchor * self.spec.logits
        if self.spec.background_first:
            is_real = is_real & (label > 0)
            label = label - 1
        anchor = torch.where(is_real, anchor, torch.zeros_like(anchor))
        chosen = torch.gather(deltas, 1, anchor[:, :, None].expand(-1, -1, 4))
        boxes = moved_boxes(anchors.at(anchor), chosen)
        return (
            torch.where(is_real[:, :, None], boxes, torch.zeros_like(boxes)),
            torch.where(is_real, torch.sigmoid(best), torch.zeros_like(best)),
            torch.where(is_real, label, torch.zeros_like(label)),
        )
