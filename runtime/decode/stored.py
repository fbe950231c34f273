"""Turn the words of a file or a device into stored values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.runtime import _native
from spinert.runtime.image import Note, Spacing, Stored

__all__ = ["spacing_notes", "stored_from_words"]

_SQUARE_WITHIN = 1e-3
"""Row and column spacing that differ by less are written differently, not unequal."""


def stored_from_words(
    words: npt.NDArray[Any], *, bits_stored: int, is_signed: bool
) -> Stored:
    """Clear or sign-extend the bits above `bits_stored`, PS3.5 section 8.1.1.

    Args:
        words: uint8 or uint16 [rows, columns], C-contiguous, native byte order;
            never written to.
        bits_stored: (0028,0101), 1 to the width of a word.
        is_signed: (0028,0103) is 1: two's complement in `bits_stored` bits.

    Returns:
        `words` itself where nothing has to change (viewed as int16 if signed), else
        a copy; int16 for every signed image; read-only.
    """
    stored = _signed(words, bits_stored) if is_signed else _unsigned(words, bits_stored)
    stored.flags.writeable = False
    return stored


def _unsigned(words: npt.NDArray[Any], bits_stored: int) -> Stored:
    # A view, so that making it read-only leaves the caller's array alone.
    view: Stored = words.view()
    if (
        bits_stored == 8 * view.itemsize
        or _native.value_range(view)[1] < 1 << bits_stored
    ):
        return view
    return view & view.dtype.type((1 << bits_stored) - 1)


def _signed(words: npt.NDArray[Any], bits_stored: int) -> Stored:
    if words.itemsize == 1:
        wide = words.astype(np.int16)
    else:
        wide = words.view(np.int16)
        limit = 1 << (bits_stored - 1)
        lowest, highest = _native.value_range(wide)
        if -limit <= lowest and highest < limit:
            return wide
    shift = np.int16(16 - bits_stored)
    return np.right_shift(np.left_shift(wide, shift), shift)


def spacing_notes(spacing: Spacing | None) -> frozenset[Note]:
    """Say whether sizes in millimetres can be told, and whether pixels are square."""
    if spacing is None:
        return frozenset({Note.SPACING_MISSING})
    if abs(spacing.row_mm / spacing.column_mm - 1) > _SQUARE_WITHIN:
        return frozenset({Note.SPACING_NOT_SQUARE})
    return frozenset()
