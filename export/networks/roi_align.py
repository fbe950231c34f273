"""RoIAlign (arXiv 1703.06870) over a feature pyramid, with standard operators.

ONNX RoiAlign needs a plugin in TensorRT-RTX, works on one level and, in FP16,
computes its coordinates in half. GridSample needs every RoI on every level. Here
the levels are laid out behind each other as rows of channels; each RoI gathers
exactly the pixels it needs from its own level, and the bilinear weights and the
mean over the samples of a bin are two small matrix products, as both are
separable. The values are those of RoiAlign with a fixed sampling ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

__all__ = ["SCALES", "Pyramid", "RoiAlignSpec", "level_index", "roi_align"]

_FIRST_LEVEL = 2
_CANONICAL_EDGE_PX = 224.0
# Pixels of all finer levels, as a fraction of the image: sums of 4**-level.
_OFFSETS = (0.0, 1 / 16, 5 / 64, 21 / 256)
SCALES: Final = (1 / 4, 1 / 8, 1 / 16, 1 / 32)
"""Pixels of p2..p5 per pixel of the image."""


@dataclass(frozen=True, kw_only=True)
class RoiAlignSpec:
    """What the checkpoint does not show of the pooling."""

    size: int = 7
    """Bins per axis."""
    sampling: int = 2
    """Samples per bin and axis; 0: as many as a bin has pixels (detectron2)."""
    aligned: bool = True
    """Shift by half a pixel (detectron2 ROIAlignV2) or not (torchvision's FPN)."""
    row_by_row: bool = False
    """Gather one row of bins after the other: for a thousand boxes, whose pixels
    fill 0.8 GB per frame at once."""


class Pyramid(NamedTuple):
    """The levels p2..p5 as one table of pixels, made once for all pooling stages."""

    rows: Tensor
    """float32 (N, pixels of all levels, C)."""
    height: int
    """Of the network input; a multiple of 32."""
    width: int

    @classmethod
    def from_levels(cls, levels: Sequence[Tensor]) -> Pyramid:
        """Take p2..p5, float32 (N,C,H/4,W/4) .. (N,C,H/32,W/32)."""
        rows = torch.cat([level.flatten(2) for level in levels], dim=2)
        height, width = levels[0].shape[2:]
        return cls(rows.transpose(1, 2).contiguous(), 4 * height, 4 * width)


def level_index(boxes: Tensor) -> Tensor:
    """Return int64 0..3 of the pyramid level of each box (arXiv 1612.03144, eq. 1).

    clamp(floor(4 + log2(edge / 224 + 1e-8)), 2, 5), as detectron2 writes it, but by
    comparison: no logarithm whose rounding differs between back ends. torchvision
    adds 1e-6 to the logarithm; that is within what rounding does to an edge.
    """
    width = (boxes[..., 2] - boxes[..., 0]).clamp(min=0)
    height = (boxes[..., 3] - boxes[..., 1]).clamp(min=0)
    ratio = torch.sqrt(width * height) / _CANONICAL_EDGE_PX + 1e-8
    steps = [(ratio >= bound).to(torch.int64) for bound in (0.5, 1.0, 2.0)]
    return steps[0] + steps[1] + steps[2]


def _taps(
    start: Tensor, extent: Tensor, pixels: Tensor, spec: RoiAlignSpec
) -> tuple[Tensor, Tensor]:
    """Return the pixels one axis of each RoI reads and their weights.

    Args:
        start: float32 (R,), first edge in feature pixels.
        extent: float32 (R,), length in feature pixels.
        pixels: float32 (R,), length of the feature map along this axis.
        spec: Bins and samples.

    Returns:
        Indices int64 and weights float32, both (R, size, 2 * sampling); the weights
        contain the mean over samples and are 0 for samples off the map.
    """
    samples = spec.size * spec.sampling
    steps = torch.arange(samples, dtype=torch.float32, device=start.device) + 0.5
    at = start[:, None] + steps[None] * (extent[:, None] / samples)
    last = pixels[:, None] - 1
    on_map = (at >= -1.0) & (at <= pixels[:, None])
    at = torch.minimum(at.clamp(min=0), last)
    # Clamped again as an integer: a NaN box must not become a wild address.
    low = torch.minimum(at.to(torch.int64).clamp(min=0), last.to(torch.int64))
    high = torch.minimum(low + 1, last.to(torch.int64))
    fraction = at - low.to(torch.float32)
    share = on_map.to(torch.float32) / spec.sampling
    index = torch.stack((low, high), dim=-1)
    weight = torch.stack(((1 - fraction) * share, fraction * share), dim=-1)
    shape = (-1, spec.size, 2 * spec.sampling)
    return index.reshape(shape), weight.reshape(shape)


def _first_pixel(index: Tensor, pyramid: Pyramid, boxes: Tensor) -> Tensor:
    """Return int64 (N*K,), where each box's level begins in the flattened table."""
    n, pixels = pyramid.rows.shape[:2]
    area = pyramid.height * pyramid.width
    level = boxes.new_tensor(_OFFSETS).index_select(0, index) * area
    frame = torch.arange(n, device=boxes.device)[:, None].expand(-1, boxes.shape[1])
    return level.to(torch.int64) + frame.reshape(-1) * pixels


def roi_align(pyramid: Pyramid, boxes: Tensor, spec: RoiAlignSpec) -> Tensor:
    """Pool each box from its own pyramid level.

    Args:
        pyramid: The feature maps.
        boxes: float32 (N,K,4), xyxy in pixels of the network input.
        spec: Bins, samples and alignment.

    Returns:
        float32 (N*K, size*size, C), bins in row order.
    """
    channels = pyramid.rows.shape[2]
    index = level_index(boxes).reshape(-1)
    scale = boxes.new_tensor(SCALES).index_select(0, index)
    height, width = scale * pyramid.height, scale * pyramid.width
    flat = boxes.reshape(-1, 4) * scale[:, None]
    extent = flat[:, 2:] - flat[:, :2]
    start = flat[:, :2] - 0.5 if spec.aligned else flat[:, :2]
    extent = extent if spec.aligned else extent.clamp(min=1.0)
    y, y_weight = _taps(start[:, 1], extent[:, 1], height, spec)
    x, x_weight = _taps(start[:, 0], extent[:, 0], width, spec)
    line = y.flatten(1) * width.to(torch.int64)[:, None]
    line = line + _first_pixel(index, pyramid, boxes)[:, None]
    table = pyramid.rows.reshape(-1, channels)
    line = line.reshape(-1, spec.size, 2 * spec.sampling)
    parts = spec.size if spec.row_by_row else 1
    pooled = [
        _pooled(table, lines, y_weights, x.flatten(1), x_weight)
        for lines, y_weights in zip(
            line.chunk(parts, dim=1), y_weight.chunk(parts, dim=1), strict=True
        )
    ]
    return torch.cat(pooled, dim=1) if len(pooled) > 1 else pooled[0]


def _pooled(
    table: Tensor, line: Tensor, y_weight: Tensor, x: Tensor, x_weight: Tensor
) -> Tensor:
    """Pool rows of bins.

    Args:
        table: float32 (pixels, C).
        line: int64 (R, rows, taps), where in the table the lines begin.
        y_weight: float32 (R, rows, taps).
        x: int64 (R, size * taps), pixels within a line.
        x_weight: float32 (R, size, taps).

    Returns:
        float32 (R, rows * size, C).
    """
    size, taps, channels = x_weight.shape[1], x_weight.shape[2], table.shape[1]
    rows = line.shape[1]
    address = line.flatten(1)[:, :, None] + x[:, None, :]
    pixels = table.index_select(0, address.reshape(-1))
    pixels = pixels.reshape(-1, rows, taps, size * taps * channels)
    lines = torch.matmul(y_weight[:, :, None, :], pixels)
    lines = lines.reshape(-1, rows, size, taps, channels)
    bins = torch.matmul(x_weight[:, None, :, None, :], lines)
    return bins.reshape(-1, rows * size, channels)
