"""What the grey levels of an image say about its quality."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spinert.runtime import _native
from spinert.runtime.image import Note, Stored
from spinert.runtime.preprocess.levels import Levels

__all__ = [
    "CLIPPED_SHARE",
    "LOW_CONTRAST_LEVELS",
    "LevelCounts",
    "contrast_notes",
    "contrast_notes_from_counts",
    "guessed_bounds",
]

LOW_CONTRAST_LEVELS = 32
"""Fewer grey levels than this between the 1st and 99th percentile are low contrast:
the stretch was spent on outliers, and an eighth of the range is left for anatomy."""

CLIPPED_SHARE = 0.5
"""More than this share of pixels at the two ends is clipped. Collimated borders and
direct exposure make up to a fifth of ordinary spine films, two fifths of limbs."""

_OUTLIERS = 0.01
_GUESSED_OUTLIERS = 0.025
"""Far enough inside of `_OUTLIERS` that a sample hardly ever misleads."""
_SAMPLE_EDGE_PX = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelCounts:
    """How many pixels of an image have certain grey levels."""

    low: int
    high: int
    darkest: int
    """Level 0."""
    up_to_low: int
    from_high: int
    brightest: int
    """Level 255."""


def guessed_bounds(pixels: Stored, levels: Levels) -> tuple[int, int]:
    """Guess two grey levels that show enough contrast, from a sample of the pixels.

    Counting the pixels beyond them is cheap, and nearly always proves that the image
    has contrast, without a histogram of all pixels. A bad guess costs that histogram.
    """
    rows, columns = (math.ceil(n / _SAMPLE_EDGE_PX) for n in pixels.shape)
    index = pixels[::rows, ::columns].astype(np.int32) - levels.first
    sample = levels.table.take(index, mode="clip").ravel()
    outliers = int(_GUESSED_OUTLIERS * len(sample))
    up_to = np.cumsum(np.bincount(sample))
    places = outliers, len(sample) - 1 - outliers
    low, high = np.searchsorted(up_to, places, side="right")
    return int(low), int(high)


def contrast_notes(
    pixels: Stored, levels: Levels, counts: LevelCounts
) -> frozenset[Note]:
    """Return CONSTANT, or LOW_CONTRAST and CLIPPED where they hold.

    Args:
        pixels: Stored values; read only where `counts` leaves it open whether the
            contrast is low.
        levels: Of `pixels`.
        counts: Of all pixels.
    """
    if levels.is_constant or _proves_contrast(counts, pixels.size):
        return _notes(levels, counts.darkest, counts.brightest, pixels.size)
    of_values = np.zeros(len(levels.table), np.uint32)
    _native.count_values(pixels, first=levels.first, counts=of_values)
    return contrast_notes_from_counts(levels, of_values)


def contrast_notes_from_counts(
    levels: Levels, counts: npt.NDArray[np.uint32]
) -> frozenset[Note]:
    """Return the same from how often each stored value of the table occurs."""
    of_levels = np.bincount(levels.table, weights=counts, minlength=256)
    share = np.cumsum(of_levels) / of_levels.sum()
    low, high = np.searchsorted(share, (_OUTLIERS, 1 - _OUTLIERS))
    darkest, brightest = int(of_levels[0]), int(of_levels[255])
    notes = _notes(levels, darkest, brightest, int(of_levels.sum()))
    is_low = Note.CONSTANT not in notes and high - low < LOW_CONTRAST_LEVELS
    return notes | {Note.LOW_CONTRAST} if is_low else notes


def _proves_contrast(counts: LevelCounts, total: int) -> bool:
    """Tell whether the 1st percentile is at most `low` and the 99th at least `high`."""
    return (
        counts.high - counts.low >= LOW_CONTRAST_LEVELS
        and counts.up_to_low / total >= _OUTLIERS
        and (total - counts.from_high) / total < 1 - _OUTLIERS
    )


def _notes(levels: Levels, darkest: int, brightest: int, total: int) -> frozenset[Note]:
    if levels.is_constant:
        return frozenset({Note.CONSTANT})
    if darkest / total + 1 - (total - brightest) / total > CLIPPED_SHARE:
        return frozenset({Note.CLIPPED})
    return frozenset()
