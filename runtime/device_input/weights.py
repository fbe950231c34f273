"""Pillow's antialiased bilinear filter as the integers it computes with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["PRECISION_BITS", "Weights", "bilinear_weights"]

PRECISION_BITS: Final = 32 - 8 - 2
"""Bits behind the point of a weight."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """One axis of a resize: result i is a sum over neighbouring sources."""

    starts: npt.NDArray[np.int32]
    """[results]: the first source of each; all its taps lie within the axis."""
    values: npt.NDArray[np.int32]
    """[taps, results]: the weight of each source, times 2 ** PRECISION_BITS."""

    @property
    def taps(self) -> int:
        """Sources of every result; those it does not need have weight 0."""
        return len(self.values)


def bilinear_weights(sources: int, results: int) -> Weights:
    """Compute the weights of an axis of `sources` pixels that becomes `results`.

    The float64 operations and their order are those of `precompute_coeffs` and
    `normalize_coeffs_8bpc` (Pillow 12, src/libImaging/Resample.c) with the whole
    axis as the box.

    Args:
        sources: From 1.
        results: From 1.
    """
    scale = sources / results
    support = max(scale, 1.0)
    inverse = 1.0 / support
    centers = (np.arange(results) + 0.5) * scale
    # C truncates towards zero; what is below zero is cut off either way.
    first = np.maximum(centers - support + 0.5, 0).astype(np.int64)
    last = np.minimum((centers + support + 0.5).astype(np.int64), sources)
    taps = min(math.ceil(support) * 2 + 1, sources)
    tap = np.arange(taps)[:, None]
    distance = np.abs((tap + first - centers + 0.5) * inverse)
    floats = np.where(distance < 1.0, 1.0 - distance, 0.0)
    floats[tap >= last - first] = 0.0
    # One after the other, as in C: NumPy's own sum adds in another order.
    total = np.add.accumulate(floats, axis=0)[-1]
    integers = (0.5 + floats / total * (1 << PRECISION_BITS)).astype(np.int32)
    return _within(first, integers, sources)


def _within(
    first: npt.NDArray[np.int64], integers: npt.NDArray[np.int32], sources: int
) -> Weights:
    """Move each run of taps to the left until it ends within the axis.

    A tap beyond the end has weight 0, but it would be read all the same.
    """
    taps = len(integers)
    starts = np.minimum(first, sources - taps)
    moved = first - starts
    values = np.zeros_like(integers)
    source = np.arange(taps)[:, None] - moved
    inside = source >= 0
    values[inside] = np.take_along_axis(integers, np.maximum(source, 0), 0)[inside]
    return Weights(starts=starts.astype(np.int32), values=values)
