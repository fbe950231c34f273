"""Compiled hot paths; use spinert.runtime.preprocess and .decide instead."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Stored = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.int16]

def kernels() -> str:
    """Name the instruction set of the inner loops.

    baseline, or x86-64 v3 or v4, or v4_vnni: v4 with AVX-512 VBMI and VNNI.
    """

def value_range(stored: Stored) -> tuple[int, int]:
    """Return (smallest, largest) of a C-contiguous 2-D image of at least one pixel."""

def count_values(stored: Stored, *, first: int, counts: npt.NDArray[np.uint32]) -> None:
    """Add how often each stored value occurs: counts[value - first] += 1.

    Values outside of [first, first + len(counts)) are left out.
    """

def make_inputs(
    stored: Stored,
    *,
    first: int,
    table: npt.NDArray[np.uint8],
    bounds: tuple[int, int],
    out: Sequence[npt.NDArray[np.uint8]],
    sizes: Sequence[tuple[int, int]],
) -> tuple[int, int, int, int]:
    """Reduce, resize and pad an image for several networks in one pass over it.

    The level of stored value v is table[v - first]; a value the table does not hold
    has any level. The image becomes sizes[i] = (height, width) as Pillow's bilinear
    filter makes it, horizontally first, in the top left of out[i]; the rest is 0.
    At most 8 outputs. ValueError where an image does not fit.

    Returns:
        How many pixels have level 0, a level of at most bounds[0], one of at least
        bounds[1], and 255.
    """

def nms(
    boxes: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    *,
    iou: float,
    class_wise: bool,
) -> npt.NDArray[np.bool_]:
    """Return which of `boxes` [n, 4] (xyxy, best score first) greedy NMS keeps.

    A box is dropped when its IoU with a kept, better box (of its class, if
    `class_wise`) is above `iou`, all in float32.
    """
