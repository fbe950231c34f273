"""Resizing with the rounding of the frameworks the networks were trained in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spinert.runtime import _native
from spinert.runtime.image import Stored
from spinert.runtime.preprocess.contrast import LevelCounts, guessed_bounds
from spinert.runtime.preprocess.levels import Levels

__all__ = ["Target", "resize_f32", "resized_grey"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A canvas and the size of the image on it, top left. Pixels, from 1."""

    valid_height: int
    valid_width: int
    height: int
    width: int


def resized_grey(
    pixels: Stored, levels: Levels, targets: Sequence[Target]
) -> tuple[list[npt.NDArray[np.uint8]], LevelCounts]:
    """Reduce an image to 8 bits, resize it for every target and pad with 0.

    All of it in one pass over the image, with Pillow's antialiased bilinear filter in
    its fixed point, horizontal pass first and rounded to 8 bits in between
    (src/libImaging/Resample.c). Pillow <= 12 does so; Pillow 13 chooses the order,
    which changes up to 18 % of the pixels by 1.

    Args:
        pixels: Stored values [rows, columns], C-contiguous. No value can harm, but one
            that `levels` does not hold has any level.
        levels: Of `pixels`.
        targets: At most 8.

    Returns:
        [height, width] for each target, C-contiguous, owned by the caller; and what was
        counted on the way.
    """
    low, high = guessed_bounds(pixels, levels)
    canvases = [np.empty((t.height, t.width), np.uint8) for t in targets]
    darkest, up_to_low, from_high, brightest = _native.make_inputs(
        pixels,
        first=levels.first,
        table=levels.table,
        bounds=(low, high),
        out=canvases,
        sizes=[(target.valid_height, target.valid_width) for target in targets],
    )
    counts = LevelCounts(
        low=low,
        high=high,
        darkest=darkest,
        up_to_low=up_to_low,
        from_high=from_high,
        brightest=brightest,
    )
    return canvases, counts


def resize_f32(
    values: npt.NDArray[np.float32], height: int, width: int
) -> npt.NDArray[np.float32]:
    """Resize bilinearly without antialiasing, corners not aligned.

    `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` without
    a scale factor. What torch returns depends on the processor (fused or separate
    multiply and add, order of the sums), so this defines the arithmetic: positions
    are rounded once, as a fused multiply-add does; then vertically, then
    horizontally, every product and sum rounded to float32. Equal to torch 2.13 on
    x86 with AVX2 or AVX-512 up to 1e-4 of a grey level.

    Args:
        values: [rows, columns].
        height: Of the result, from 1.
        width: Of the result, from 1.

    Returns:
        [height, width].
    """
    top, bottom, down = _taps(values.shape[0], height)
    left, right, across = _taps(values.shape[1], width)
    one = np.float32(1)
    rows = values[top] * (one - down)[:, None] + values[bottom] * down[:, None]
    return np.asarray(
        rows[:, left] * (one - across) + rows[:, right] * across, np.float32
    )


def _taps(
    n_in: int, n_out: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Return for each output the two inputs and the weight of the second.

    Two roundings in place of the fused one would move a position by half a unit in
    the last place, and a sharp edge at column 2000 by 0.02 grey levels.
    """
    scale = np.float64(np.float32(n_in) / np.float32(n_out))
    at = ((np.arange(n_out) + 0.5) * scale - 0.5).astype(np.float32)
    at = np.maximum(at, np.float32(0))
    before = np.minimum(at.astype(np.intp), n_in - 1)
    after = np.minimum(before + 1, n_in - 1)
    return before, after, (at - before).astype(np.float32)
