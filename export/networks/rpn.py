"""Region proposal network (arXiv 1506.01497) over a feature pyramid.

Two forms of it are in use. detectron2 (`find_top_rpn_proposals`) drops empty boxes;
torchvision (`RegionProposalNetwork.filter_proposals`) drops boxes below a thousandth
of a pixel. Both are ranked by logits here. torchvision ranks by probabilities within
an order by logits: that is the same but for logits of different levels that are one
probability in float32, and matters only where the list is cut between such two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spinert.export.networks.anchors import (
    AnchorLevel,
    AnchorSpec,
    anchor_levels,
    by_anchor,
)
from spinert.export.networks.box_coding import clipped_boxes, moved_boxes
from spinert.export.networks.suppression import survivors

__all__ = [
    "NO_SCORE",
    "Proposals",
    "RankedBoxes",
    "RpnHead",
    "RpnSpec",
    "proposals_from_ranked",
    "ranked_boxes",
]

NO_SCORE: Final = -1e4
"""Of fillers: below every logit, and within half precision."""

_ANCHORS: Final = AnchorSpec(
    sizes=((32,), (64,), (128,), (256,), (512,)), strides=(4, 8, 16, 32, 64)
)


@dataclass(frozen=True, kw_only=True)
class RpnSpec:
    """Sizes of the network, and what its weights do not show."""

    convs: int = 1
    """3x3 convolutions before the predictors (torchvision v2: 2)."""
    anchors: AnchorSpec = _ANCHORS
    per_level: int = 1000
    """Best anchors of each level that go into the suppression."""
    proposals: int = 1000
    """Best survivors of all levels together."""
    nms_iou: float = 0.7
    nms_rounds: int = 24
    """Rounds of the suppression; see `spinert.export.networks.suppression`."""
    min_box_edge_px: float = 0.0
    """Clipped boxes with a shorter edge are dropped; empty ones always are."""


class RankedBoxes(NamedTuple):
    """Decoded and clipped boxes of each pyramid level, best score first."""

    boxes: Tensor
    """float32 (N,L,n,4); fillers are 0."""
    scores: Tensor
    """float32 (N,L,n); fillers have `NO_SCORE`, wherever they stand."""


class Proposals(NamedTuple):
    """What the regions are pooled from."""

    boxes: Tensor
    """float32 (N,R,4), best score first; fillers are 0 and come last."""
    status: Tensor
    """int32 (N,): 1 where the suppression did not settle, else 0."""


class RpnHead(nn.Module):
    """Objectness and deltas of every anchor; all levels share it."""

    def __init__(self, width: int, spec: RpnSpec) -> None:
        """Name modules as detectron2's StandardRPNHead does."""
        super().__init__()
        if spec.convs == 1:
            self.conv: nn.Module = nn.Conv2d(width, width, 3, padding=1)
        else:
            self.conv = nn.Sequential()
            for index in range(spec.convs):
                layer = nn.Conv2d(width, width, 3, padding=1)
                self.conv.add_module(f"conv{index}", layer)
        count = spec.anchors.per_cell
        self.objectness_logits = nn.Conv2d(width, count, 1)
        self.anchor_deltas = nn.Conv2d(width, 4 * count, 1)

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N,A) and deltas (N,A,4) of one level (N,C,H,W)."""
        several = isinstance(self.conv, nn.Sequential)
        for conv in self.conv.children() if several else (self.conv,):
            level = functional.relu(conv(level))
        logits = by_anchor(self.objectness_logits(level), 1)
        return logits[:, :, 0], by_anchor(self.anchor_deltas(level), 4)


def _best_of_level(
    head: RpnHead, level: Tensor, anchors: AnchorLevel, count: int
) -> tuple[Tensor, Tensor]:
    """Return boxes (N,count,4), not clipped, and logits (N,count) of one level.

    Fillers behind the real logits keep the selection's size fixed; they take the
    boxes of anchor 0.
    """
    logits, deltas = head(level)
    fillers = logits.new_full((1, count), NO_SCORE).expand(logits.shape[0], -1)
    best, index = torch.topk(torch.cat((logits, fillers), dim=1), count, dim=1)
    index = torch.where(index < logits.shape[1], index, torch.zeros_like(index))
    chosen = torch.gather(deltas, 1, index[:, :, None].expand(-1, -1, 4))
    return moved_boxes(anchors.at(index), chosen), best


def ranked_boxes(
    head: RpnHead, spec: RpnSpec, levels: Sequence[Tensor], size: tuple[Tensor, Tensor]
) -> RankedBoxes:
    """Return the best boxes of every level.

    Args:
        head: Of the network.
        spec: Counts and rules.
        levels: p2..p6, float32 (N,C,H,W).
        size: The network input (N,3,H,W), of which only the shape is used, and
            image_size, int32 (N,2), the valid (height, width).
    """
    image, image_size = size
    found = [
        _best_of_level(head, level, anchors, spec.per_level)
        for level, anchors in zip(
            levels, anchor_levels(spec.anchors, levels, image), strict=True
        )
    ]
    boxes = torch.stack([boxes for boxes, _ in found], dim=1)
    logits = torch.stack([logits for _, logits in found], dim=1)
    boxes = clipped_boxes(boxes, image_size)
    edges = boxes[..., 2:] - boxes[..., :2]
    shorter = torch.minimum(edges[..., 0], edges[..., 1])
    is_real = (logits > NO_SCORE) & (shorter > 0) & (shorter >= spec.min_box_edge_px)
    return RankedBoxes(
        torch.where(is_real[..., None], boxes, torch.zeros_like(boxes)),
        torch.where(is_real, logits, torch.full_like(logits, NO_SCORE)),
    )


def proposals_from_ranked(ranked: RankedBoxes, spec: RpnSpec) -> Proposals:
    """Suppress within each level, then take the best of all levels."""
    n, levels, count = ranked.scores.shape
    found = survivors(ranked.boxes.reshape(-1, count, 4), spec.nms_iou, spec.nms_rounds)
    keep = found.keep.reshape(n, levels * count)
    scores = ranked.scores.reshape(n, levels * count)
    scores = torch.where(keep > 0, scores, torch.full_like(scores, NO_SCORE))
    boxes = ranked.boxes.reshape(n, levels * count, 4) * keep[:, :, None]
    index = torch.topk(scores, spec.proposals, dim=1).indices
    chosen = torch.gather(boxes, 1, index[:, :, None].expand(-1, -1, 4))
    unsettled = found.unsettled.reshape(n, levels).to(torch.int32).sum(dim=1) > 0
    return Proposals(chosen, unsettled.to(torch.int32))
