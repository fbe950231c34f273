"""Greedy non-maximum suppression as the fixed point of a mask.

Written with operators that every back end has: no loop, no NonZero, no
NonMaxSuppression. Of boxes sorted by score, box i survives if no better box that
survives overlaps it too much. Started from "all survive", a round of that rule gives
the final answer to every box whose chain of better, overlapping boxes is shorter than
the number of rounds; typical proposals need 2 to 15. Even rounds keep too many
boxes and odd ones too few, so two equal masks in a row are the greedy answer itself
(cluster NMS, arXiv 2005.03572).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Survivors", "survivors"]

_NEVER = 2.0  # above every intersection over union


class Survivors(NamedTuple):
    """Which boxes of each group a suppression keeps."""

    keep: Tensor
    """float32 (G,n), 1 or 0."""
    unsettled: Tensor
    """bool (G,): the last round still changed something."""


def _float32_bound(iou: float) -> float:
    """Return the largest float32 up to `iou`.

    A float32 exceeds the one exactly where it exceeds the other, and that is how
    torchvision's kernels compare: a float32 ratio with a float64 threshold.
    """
    bound = np.float32(iou)
    below = np.nextafter(bound, np.float32(-math.inf))
    return float(bound if float(bound) <= iou else below)


def _overlaps(boxes: Tensor, iou: float) -> Tensor:
    """Return float32 (G,n,n): 1 where row j is better than column i and covers it.

    One axis of an intersection is cut at zero; where the other is negative the
    product is too, which no threshold lets pass.
    """
    x_min, y_min, x_max, y_max = (edge.squeeze(-1) for edge in boxes.split(1, dim=-1))
    areas = (x_max - x_min) * (y_max - y_min)
    right = torch.minimum(x_max[:, :, None], x_max[:, None])
    left = torch.maximum(x_min[:, :, None], x_min[:, None])
    bottom = torch.minimum(y_max[:, :, None], y_max[:, None])
    top = torch.maximum(y_min[:, :, None], y_min[:, None])
    both = torch.relu(right - left) * (bottom - top)
    ratio = both / (areas[:, :, None] + areas[:, None] - both)
    rank = torch.arange(boxes.shape[1], device=boxes.device)
    bound = boxes.new_tensor(_float32_bound(iou))
    bounds = torch.where(rank[:, None] < rank[None], bound, boxes.new_tensor(_NEVER))
    return (ratio > bounds).to(torch.float32)


def survivors(boxes: Tensor, iou: float, rounds: int) -> Survivors:
    """Suppress the boxes of each group that overlap a better survivor.

    Args:
        boxes: float32 (G,n,4), xyxy, best score first. A box without width is a
            filler: it neither survives nor suppresses.
        iou: Boxes whose intersection over union is above this exclude each other.
        rounds: How often the rule is applied; without any, no box is settled.

    Returns:
        The mask, and where it is not the greedy one yet.
    """
    real = (boxes[:, :, 2] > boxes[:, :, 0]).to(torch.float32)
    overlaps = _overlaps(boxes, iou)
    keep, before = real, torch.zeros_like(real)
    for _ in range(rounds):
        before = keep
        # A number of suppressors, so exact; 1 or more leaves nothing of the 1.
        suppressors = torch.matmul(keep[:, None], overlaps)[:, 0]
        keep = torch.relu(real - suppressors)
    changes = (keep - before) * (keep - before)
    return Survivors(keep, changes.sum(dim=1) > 0)
