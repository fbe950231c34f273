"""Which anchor learns which lesion, as effdet's `AnchorLabeler` decides it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from spinert.export.reference.frames import NO_BOX

__all__ = ["BACKGROUND", "LEFT_OUT", "Targets", "corners_of", "targets"]

BACKGROUND: Final = -1
LEFT_OUT: Final = -2
"""Class of an anchor that overlaps a lesion too much for one, too little for other."""

_SMALLEST_PX: Final = 1e-3


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What the heads are to say of each anchor."""

    classes: Tensor
    """int64 (N,A): a class, `BACKGROUND` or `LEFT_OUT`."""
    codes: Tensor
    """float32 (N,A,4): y, x, log height, log width; of use where there is a class."""


def corners_of(anchors: Tensor) -> Tensor:
    """Return xyxy (A,4) of anchors as centre y, centre x, height, width (A,4)."""
    y, x, height, width = anchors.unbind(-1)
    half_height, half_width = height / 2, width / 2
    corners = (x - half_width, y - half_height, x + half_width, y + half_height)
    return torch.stack(corners, dim=-1)


def _overlaps(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return intersection over union (N,M,A) of xyxy (N,M,4) and (A,4)."""
    low = torch.maximum(boxes[:, :, None, :2], anchors[:, :2])
    high = torch.minimum(boxes[:, :, None, 2:], anchors[:, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    own = (boxes[..., 2:] - boxes[..., :2]).prod(-1)[:, :, None]
    theirs = (anchors[:, 2:] - anchors[:, :2]).prod(-1)
    return both / (own + theirs - both).clamp(min=_SMALLEST_PX)


def _codes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return what moves and scales anchors (A,4) to boxes xyxy (N,A,4)."""
    y, x, height, width = anchors.unbind(-1)
    x_min, y_min, x_max, y_max = boxes.unbind(-1)
    box_height = (y_max - y_min).clamp(min=_SMALLEST_PX)
    box_width = (x_max - x_min).clamp(min=_SMALLEST_PX)
    return torch.stack(
        (
            ((y_min + y_max) / 2 - y) / height,
            ((x_min + x_max) / 2 - x) / width,
            torch.log(box_height / height),
            torch.log(box_width / width),
        ),
        dim=-1,
    )


def targets(
    boxes: Tensor,
    labels: Tensor,
    anchors: Tensor,
    *,
    matched_iou: float,
    unmatched_iou: float,
) -> Targets:
    """Give every anchor the lesion that it overlaps most, if that is enough.

    The best anchor of a lesion has it even where the overlap is small; of several
    lesions with the same best anchor, the first.

    Args:
        boxes: float32 (N,M,4), xyxy in pixels of the network input.
        labels: int64 (N,M); `NO_BOX` in rows without a lesion.
        anchors: float32 (A,4), centre y, centre x, height, width.
        matched_iou: From this overlap on an anchor has the lesion's class.
        unmatched_iou: Below it an anchor is background.
    """
    real = labels != NO_BOX
    overlap = _overlaps(boxes, corners_of(anchors)).masked_fill(~real[..., None], -1.0)
    best, owner = overlap.max(dim=1)
    # The first lesion wins: written last to first, each over those behind it.
    for row in reversed(range(boxes.shape[1])):
        place = overlap[:, row].argmax(dim=1, keepdim=True)
        forced = real[:, row, None]
        owner.scatter_(1, place, torch.where(forced, row, owner.gather(1, place)))
        best.scatter_(1, place, torch.where(forced, 1.0, best.gather(1, place)))
    classes = labels.gather(1, owner)
    classes = torch.where(best < matched_iou, LEFT_OUT, classes)
    classes = torch.where(best < unmatched_iou, BACKGROUND, classes)
    chosen = boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    return Targets(classes=classes, codes=_codes(chosen, anchors))
