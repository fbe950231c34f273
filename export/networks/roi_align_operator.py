"""RoIAlign that becomes the ONNX operator RoiAlign, once per pyramid level.

Adaptive sampling (as many samples as a bin has pixels, detectron2's default) has no
fixed shape, so the plugin-free form in `roi_align.py` cannot have it. TensorRT-RTX
does not read this operator; a bundle names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from onnxscript import opset18 as op
from torch import Tensor

from spinert.export.networks.roi_align import SCALES, RoiAlignSpec, level_index

__all__ = ["OPERATOR", "roi_align_by_operator", "roi_align_node"]

OPERATOR: Final = "RoiAlign"


def _axis(
    start: float, extent: float, pixels: int, sizes: tuple[int, int]
) -> tuple[int, Tensor]:
    """Return how the pixels of one axis contribute to the bins of one box.

    Args:
        start: First edge in pixels of the map.
        extent: Length in pixels of the map.
        pixels: Length of the map.
        sizes: Bins, and samples per bin.

    Returns:
        The first pixel that is read, and float32 (bins, pixels read).
    """
    bins, samples = sizes
    step = extent / bins
    within = (torch.arange(samples, dtype=torch.float32) + 0.5) * (step / samples)
    at = start + torch.arange(bins, dtype=torch.float32)[:, None] * step + within[None]
    on_map = (at >= -1.0) & (at <= pixels)
    at = at.clamp(0.0, pixels - 1.0)
    low = at.to(torch.int64)
    high = (low + 1).clamp(max=pixels - 1)
    fraction = at - low.to(torch.float32)
    share = on_map.to(torch.float32) / samples
    first = int(low.min())
    weights = torch.zeros(bins, int(high.max()) - first + 1)
    weights.scatter_add_(1, low - first, (1 - fraction) * share)
    weights.scatter_add_(1, high - first, fraction * share)
    return first, weights


def _samples(extent: float, size: int, sampling: int) -> int:
    """Return the samples per bin along one axis, at least 0."""
    return sampling or max(0, -int(-extent // size))


@torch.library.custom_op("spinert::roi_align", mutates_args=())
def _roi_align(
    level: Tensor,
    boxes: Tensor,
    frames: Tensor,
    size: int,
    sampling: int,
    aligned: bool,
) -> Tensor:
    """Pool every box from one level, as torchvision's kernel does.

    Args:
        level: float32 (N,C,H,W).
        boxes: float32 (R,4), xyxy in pixels of the level.
        frames: int64 (R,), which frame a box belongs to.
        size: Bins per axis.
        sampling: Samples per bin and axis; 0: as many as a bin has pixels.
        aligned: Shift by half a pixel; otherwise a box has at least one pixel.

    Returns:
        float32 (R,C,size,size).
    """
    pooled = level.new_zeros((boxes.shape[0], level.shape[1], size, size))
    starts = (boxes[:, :2] - (0.5 if aligned else 0.0)).tolist()
    extents = boxes[:, 2:] - boxes[:, :2]
    extents = extents if aligned else extents.clamp(min=1.0)
    for index, (width, height) in enumerate(extents.tolist()):
        down, across = (_samples(edge, size, sampling) for edge in (height, width))
        if down == 0 or across == 0:
            continue
        x, y = starts[index]
        top, rows = _axis(y, height, level.shape[2], (size, down))
        left, columns = _axis(x, width, level.shape[3], (size, across))
        bottom, right = top + rows.shape[1], left + columns.shape[1]
        read = level[int(frames[index]), :, top:bottom, left:right]
        pooled[index] = rows @ read @ columns.T
    return pooled


@_roi_align.register_fake
def _shape(
    level: Tensor,
    boxes: Tensor,
    frames: Tensor,
    size: int,
    sampling: int,
    aligned: bool,
) -> Tensor:
    return level.new_empty((boxes.shape[0], level.shape[1], size, size))


def roi_align_node(
    level: Any, boxes: Any, frames: Any, size: int, sampling: int, aligned: bool
) -> Any:
    """Return the ONNX form of `spinert::roi_align` for the exporter's tables."""
    return op.RoiAlign(
        level,
        boxes,
        frames,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        mode="avg",
        output_height=size,
        output_width=size,
        sampling_ratio=sampling,
    )


def roi_align_by_operator(
    levels: Sequence[Tensor], boxes: Tensor, spec: RoiAlignSpec
) -> Tensor:
    """Pool each box from its own pyramid level.

    Every level pools every box, because a selection would have a shape that depends
    on data; boxes of other levels are empty there, and their result is dropped.

    Args:
        levels: p2..p5, float32 (N,C,H/4,W/4) .. (N,C,H/32,W/32).
        boxes: float32 (N,K,4), xyxy in pixels of the network input.
        spec: Bins, samples and alignment.

    Returns:
        float32 (N*K,C,size,size).
    """
    n, count = boxes.shape[:2]
    frames = torch.arange(n, device=boxes.device)[:, None].expand(-1, count).flatten()
    own = level_index(boxes).flatten()
    flat = boxes.reshape(-1, 4)
    total: Tensor | None = None
    for index, (level, scale) in enumerate(zip(levels, SCALES, strict=True)):
        here = (own == index).to(torch.float32)
        pooled = torch.ops.spinert.roi_align(
            level,
            flat * (scale * here)[:, None],
            frames,
            spec.size,
            spec.sampling,
            spec.aligned,
        )
        pooled = pooled * here[:, None, None, None]
        total = pooled if total is None else total + pooled
    if total is None:
        raise ValueError("a pyramid has levels")
    return total
