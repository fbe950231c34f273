"""Compiled hot paths; use spinert.runtime.preprocess and .decide instead."""

import numpy as np
import numpy.typing as npt

Stored = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.int16]

def value_range(stored: Stored) -> tuple[int, int]:
    """Return (smallest, largest) of a C-contiguous 2-D image of at least one pixel."""

def count_values(stored: Stored, *, first: int, counts: npt.NDArray[np.uint32]) -> None:
    """Add how often each stored value occurs: counts[value - first] += 1.

    Every value must lie in [first, first + len(counts)); ValueError otherwise.
    """

def look_up(
    stored: Stored,
    *,
    first: int,
    table: npt.NDArray[np.uint8],
    out: npt.NDArray[np.uint8],
) -> None:
    """Write out[y, x] = table[stored[y, x] - first]; values as in count_values."""

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
