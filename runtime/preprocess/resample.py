"""Resizing with the rounding of the frameworks the networks were trained in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

__all__ = ["resize_f32", "resize_u8"]


def resize_u8(
    grey: npt.NDArray[np.uint8], height: int, width: int
) -> npt.NDArray[np.uint8]:
    """Resize with Pillow's antialiased bilinear filter, horizontal pass first.

    Pillow <= 12 always resizes horizontally first and rounds to 8 bits in between;
    Pillow 13 chooses the order, which changes up to 18 % of the pixels by 1. One call
    per axis is the same on every version (src/libImaging/Resample.c).

    Args:
        grey: [rows, columns], C-contiguous.
        height: Of the result, from 1.
        width: Of the result, from 1.

    Returns:
        [height, width], C-contiguous, maybe read-only; `grey` itself if it fits.
    """
    rows, columns = grey.shape
    if (height, width) == (rows, columns):
        return grey
    image = PillowImage.fromarray(grey)
    if width != columns:
        image = image.resize((width, rows), PillowImage.Resampling.BILINEAR)
    if height != rows:
        image = image.resize((width, height), PillowImage.Resampling.BILINEAR)
    return np.asarray(image)


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
