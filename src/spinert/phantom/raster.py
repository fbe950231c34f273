"""Solids into a map of attenuation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from spinert.phantom.shapes import Part

__all__ = ["Grid", "resized", "smoothed", "stamp"]

_FINE: int = 2
"""Outlines are drawn this much finer and averaged, for smooth edges."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Pixels over the field; the middle of the field is at (0, 0) mm."""

    rows: int
    columns: int
    step_mm: tuple[float, float]
    """Size of a pixel, across and down."""
    origin_mm: tuple[float, float]
    """Position of the upper left corner of the first pixel."""

    def coarser(self, step_mm: float) -> Grid:
        """Return a grid over the same field with pixels of about `step_mm` or more."""
        width = self.columns * self.step_mm[0]
        height = self.rows * self.step_mm[1]
        columns = max(1, min(self.columns, ceil(width / step_mm)))
        rows = max(1, min(self.rows, ceil(height / step_mm)))
        return Grid(
            rows=rows,
            columns=columns,
            step_mm=(width / columns, height / rows),
            origin_mm=self.origin_mm,
        )

    def zeros(self) -> NDArray[np.float32]:
        """Return an empty map (rows, columns)."""
        return np.zeros((self.rows, self.columns), np.float32)


def stamp(layer: NDArray[np.float32], grid: Grid, parts: Iterable[Part]) -> None:
    """Add the attenuation of parts to a map (rows, columns) in place."""
    for part in parts:
        _stamp_one(layer, grid, part)


def _stamp_one(layer: NDArray[np.float32], grid: Grid, part: Part) -> None:
    points = (part.outline - grid.origin_mm) / grid.step_mm
    reach = max(part.round_mm, part.rim_mm if part.rim else 0.0) / min(grid.step_mm)
    pad = 2 + ceil(reach)
    low, high = points.min(axis=0), points.max(axis=0)
    x0, y0 = max(0, floor(low[0]) - pad), max(0, floor(low[1]) - pad)
    x1 = min(grid.columns, ceil(high[0]) + pad)
    y1 = min(grid.rows, ceil(high[1]) + pad)
    if x1 <= x0 or y1 <= y0:
        return
    fine = Image.new("L", ((x1 - x0) * _FINE, (y1 - y0) * _FINE))
    corners = ((points - (x0, y0)) * _FINE - 0.5).ravel().tolist()
    ImageDraw.Draw(fine).polygon(corners, fill=255)
    mask = fine.reduce(_FINE)
    layer[y0:y1, x0:x1] += _thickness(mask, part, min(grid.step_mm))


def _thickness(mask: Image.Image, part: Part, step_mm: float) -> NDArray[np.float32]:
    """Return the attenuation of a part from its mask, 0 to 255."""
    inside = _unit(mask)
    thick_px = part.round_mm / step_mm
    rim_px = part.rim_mm / step_mm if part.rim else 0.0
    reach_px = float(max(thick_px, rim_px))
    if reach_px == 0.0:
        return np.float32(part.core) * inside
    # Averaging over a box turns the mask into the distance from its edge.
    soft = _unit(mask.filter(ImageFilter.BoxBlur(reach_px)))
    depth_px = np.maximum(soft * np.float32(2.0) - np.float32(1.0), 0.0)
    depth_px *= np.float32(reach_px)
    total = np.full_like(inside, part.core)
    if thick_px > 0.0:
        total *= np.sqrt(np.minimum(depth_px * np.float32(1 / thick_px), 1.0))
    if part.rim:
        shell = np.maximum(1.0 - depth_px * np.float32(1 / rim_px), 0.0)
        total += np.float32(part.rim) * shell
    total *= inside
    return total


def _unit(image: Image.Image) -> NDArray[np.float32]:
    values = np.frombuffer(image.tobytes(), np.uint8).astype(np.float32)
    values *= np.float32(1 / 255)
    return values.reshape(image.height, image.width)


def resized(values: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """Return a map resampled to the rows and columns of a finer grid."""
    if values.shape == (grid.rows, grid.columns):
        return values
    image = Image.fromarray(values)
    size = (grid.columns, grid.rows)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float32)


def smoothed(values: NDArray[np.float32], reach_px: float) -> NDArray[np.float32]:
    """Return a map smoothed over about `reach_px`, edges extended."""
    width = max(1, round(reach_px))
    for _ in range(2):
        for axis in (0, 1):
            values = _box_mean(values, width, axis)
    return values


def _box_mean(
    values: NDArray[np.float32], width: int, axis: int
) -> NDArray[np.float32]:
    pads = [(0, 0), (0, 0)]
    pads[axis] = (width + 1, width)
    total = np.cumsum(np.pad(values, pads, mode="edge"), axis=axis, dtype=np.float64)
    span = 2 * width + 1
    if axis == 0:
        return ((total[span:] - total[:-span]) / span).astype(np.float32)
    return ((total[:, span:] - total[:, :-span]) / span).astype(np.float32)
