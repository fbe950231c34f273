"""Boxes from regressed deltas, and boxes cut to the image.

The parametrisation of arXiv 1311.2524 (appendix C) as detectron2's Box2BoxTransform
and torchvision's BoxCoder compute it: in float32, centre and size of the reference
box moved and scaled.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

__all__ = ["LOG_SCALE_LIMIT", "clipped_boxes", "moved_boxes"]

LOG_SCALE_LIMIT: Final = math.log(1000.0 / 16)
"""Largest logarithm of growth: detectron2's and torchvision's default."""


def moved_boxes(
    boxes: Tensor,
    deltas: Tensor,
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    log_scale_limit: float = LOG_SCALE_LIMIT,
) -> Tensor:
    """Apply regressed deltas to boxes.

    Args:
        boxes: float32 (...,4), xyxy in pixels; broadcasts against `deltas`.
        deltas: float32 (...,4) as dx, dy, dw, dh.
        weights: What each delta is divided by.
        log_scale_limit: dw and dh are at most this.

    Returns:
        float32 (...,4), xyxy; not clipped.
    """
    edges = boxes[..., 2:] - boxes[..., :2]
    centres = boxes[..., :2] + 0.5 * edges
    scaled = deltas / deltas.new_tensor(weights)
    centres = scaled[..., :2] * edges + centres
    edges = torch.exp(scaled[..., 2:].clamp(max=log_scale_limit)) * edges
    return torch.cat((centres - 0.5 * edges, centres + 0.5 * edges), dim=-1)


def clipped_boxes(boxes: Tensor, image_size: Tensor) -> Tensor:
    """Cut boxes to the image of their frame.

    Args:
        boxes: float32 (N,...,4), xyxy in pixels.
        image_size: int32 (N,2), valid (height, width).

    Returns:
        float32 (N,...,4) within [0, width] and [0, height].
    """
    width_height = image_size.to(torch.float32).flip(1)
    bounds = torch.cat((width_height, width_height), dim=1)
    shape = (-1, *(1,) * (boxes.ndim - 2), 4)
    return torch.minimum(boxes.clamp(min=0), bounds.reshape(shape))
