"""Anchor boxes of a pyramid, computed where they are needed.

A detector keeps about a thousand of several hundred thousand anchors, so none is
stored: `AnchorLevel.at` works out the chosen ones from their indices. Indices run as
in detectron2 and torchvision: over rows, then columns, then the anchors of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "AnchorLevel",
    "AnchorSpec",
    "anchor_levels",
    "by_anchor",
    "cell_anchors",
    "octaves",
]


@dataclass(frozen=True, kw_only=True)
class AnchorSpec:
    """Anchors of one detector. No checkpoint shows `torchvision_form`."""

    sizes: tuple[tuple[float, ...], ...]
    """Edges in pixels of the square anchors, per level, finest first."""
    strides: tuple[int, ...]
    """Pixels between cells, per level."""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height over width."""
    torchvision_form: bool = False
    """torchvision rounds corners to whole pixels, orders a cell by ratio and then
    size, and takes image size // map size as stride (61, not 64, for 800 pixels and
    13 cells). detectron2 does neither and orders by size, then ratio."""

    @property
    def per_cell(self) -> int:
        """Anchors of a cell; the same on all levels."""
        return len(self.sizes[0]) * len(self.ratios)


def octaves(bases: Sequence[int], scales: int = 3) -> tuple[tuple[float, ...], ...]:
    """Return RetinaNet's sizes: `scales` per octave (arXiv 1708.02002, section 4).

    Args:
        bases: Smallest edge of each level in pixels.
        scales: Sizes between a base and its double.
    """
    return tuple(
        tuple(base * 2.0 ** (step / scales) for step in range(scales)) for base in bases
    )


def cell_anchors(sizes: Sequence[float], spec: AnchorSpec) -> Tensor:
    """Return the anchors of the cell at the origin, float32 (A,4), xyxy.

    Args:
        sizes: Edges of one level in pixels. torchvision truncates RetinaNet's to
            whole pixels (`int(x * 2 ** (1 / 3))`): pass them so.
        spec: Ratios and form.
    """
    if spec.torchvision_form:
        edges = torch.tensor(sizes, dtype=torch.float32)
        height_ratios = torch.sqrt(torch.tensor(spec.ratios, dtype=torch.float32))
        widths = ((1 / height_ratios)[:, None] * edges[None]).flatten()
        heights = (height_ratios[:, None] * edges[None]).flatten()
        return (torch.stack((-widths, -heights, widths, heights), dim=1) / 2).round()
    cells = []
    for size in sizes:
        for ratio in spec.ratios:
            width = math.sqrt(size**2.0 / ratio)
            height = ratio * width
            cells.append((-width / 2, -height / 2, width / 2, height / 2))
    return torch.tensor(cells, dtype=torch.float32)


class AnchorLevel(NamedTuple):
    """The anchors of one pyramid level."""

    cells: Tensor
    """float32 (A,4), those of the cell at the origin."""
    columns: int
    """Cells per row."""
    row_stride: int
    """Pixels between rows."""
    column_stride: int

    def at(self, index: Tensor) -> Tensor:
        """Return the anchors of these indices.

        Args:
            index: int64 (...), in the order rows, columns, anchors of a cell.

        Returns:
            float32 (...,4), xyxy in pixels of the network input.
        """
        count = self.cells.shape[0]
        place = torch.div(index, count, rounding_mode="floor")
        cell = index - place * count
        row = torch.div(place, self.columns, rounding_mode="floor")
        column = place - row * self.columns
        x = (column * self.column_stride).to(torch.float32)
        y = (row * self.row_stride).to(torch.float32)
        own = self.cells.index_select(0, cell.flatten()).reshape(*index.shape, 4)
        return own + torch.stack((x, y, x, y), dim=-1)


def anchor_levels(
    spec: AnchorSpec, maps: Sequence[Tensor], image: Tensor
) -> list[AnchorLevel]:
    """Return the anchors over each feature map.

    Args:
        spec: Sizes, strides and form.
        maps: One (N,C,h,w) per level, finest first.
        image: The network input (N,3,H,W); only its size is used.
    """
    height, width = image.shape[2:]
    levels = []
    for sizes, stride, level in zip(spec.sizes, spec.strides, maps, strict=True):
        rows, columns = level.shape[2:]
        cells = cell_anchors(sizes, spec).to(image.device)
        strides = (stride, stride)
        if spec.torchvision_form:
            strides = (height // rows, width // columns)
        levels.append(AnchorLevel(cells, columns, *strides))
    return levels


def by_anchor(maps: Tensor, values: int) -> Tensor:
    """Bring the channels of a dense head into the order of anchors.

    Args:
        maps: float32 (N, A * values, H, W), A anchors per cell.
        values: Of each anchor: classes, or 4 for deltas.

    Returns:
        float32 (N, H * W * A, values), in the order of `AnchorLevel.at`.
    """
    n, channels, height, width = maps.shape
    split = maps.view(n, channels // values, values, height, width)
    return split.permute(0, 3, 4, 1, 2).reshape(n, -1, values)
