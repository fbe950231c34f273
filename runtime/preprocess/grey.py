"""Stored values to 8-bit grey through one lookup table per frame.

The order is that of the official preprocessing (VinDr-SpineXR `dicom2png.py`):
VOI, inversion of MONOCHROME1, minus the minimum, divided by the maximum, times
255, truncated; all in float64, over the values that occur in the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2
from spinert.runtime import _native
from spinert.runtime.errors import MalformedFrame, Reason
from spinert.runtime.image import Image, Note, Photometric
from spinert.runtime.preprocess.voi import values_after_voi

__all__ = ["CLIPPED_SHARE", "LOW_CONTRAST_LEVELS", "Grey", "grey_from_image"]

LOW_CONTRAST_LEVELS = 32
"""Fewer grey levels than this between the 1st and 99th percentile are low contrast:
the stretch was spent on outliers, and an eighth of the range is left for anatomy."""

CLIPPED_SHARE = 0.5
"""More than this share of pixels at the two ends is clipped. Collimated borders and
direct exposure make up to a fifth of ordinary spine films, two fifths of limbs."""

_OUTLIERS = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Grey:
    """What every network sees of an image, before resizing."""

    pixels: npt.NDArray[np.uint8]
    """[rows, columns], C-contiguous."""
    notes: frozenset[Note]
    """Those of the image and CONSTANT, LOW_CONTRAST, CLIPPED."""


def grey_from_image(image: Image, rule: bundle_pb2.GreyRule) -> Grey:
    """Reduce `image` to 8-bit grey as `rule` says.

    PNG and JPEG of 8 bits are grey already and pass unchanged.

    Raises:
        MalformedFrame: CONSTANT_IMAGE, if the rule refuses images without content;
            MALFORMED_DICOM, if rescale or window drive values out of all numbers.
    """
    first, last = _native.value_range(image.pixels)
    counts = np.zeros(last - first + 1, np.uint32)
    _native.count_values(image.pixels, first=first, counts=counts)
    if image.is_display_ready:
        table = np.arange(first, last + 1).astype(np.uint8)
    else:
        table = _stretched(_display_values(image, rule, first, last), counts > 0)
    notes = image.notes | _contrast_notes(table, counts)
    if Note.CONSTANT in notes:
        return Grey(pixels=_constant(image, rule), notes=notes)
    if image.is_display_ready and image.pixels.dtype == np.uint8:
        return Grey(pixels=image.pixels.view(np.uint8), notes=notes)
    pixels = np.empty(image.pixels.shape, np.uint8)
    _native.look_up(image.pixels, first=first, table=table, out=pixels)
    return Grey(pixels=pixels, notes=notes)


def _display_values(
    image: Image, rule: bundle_pb2.GreyRule, first: int, last: int
) -> npt.NDArray[np.float64]:
    stored = np.arange(first, last + 1, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # `_stretched` refuses those
        values = values_after_voi(stored, image, rule)
    if rule.invert_monochrome1 and image.photometric is Photometric.MONOCHROME1:
        # The official max - value follows in `_stretched`, which knows the values
        # present: -value - min(-value) is the same, rounding included.
        return -values
    return values


def _stretched(
    values: npt.NDArray[np.float64], present: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Stretch to 0..255 by the extremes of the values that occur; all 0 if equal."""
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = values - values[present].min()
    highest = shifted[present].max()
    if not (np.isfinite(highest) and np.isfinite(shifted).all()):
        raise MalformedFrame(
            Reason.MALFORMED_DICOM,
            "rescale or window drive the grey values out of all numbers; correct them",
        )
    if highest == 0:
        return np.zeros(values.shape, np.uint8)
    # Values that do not occur may lie outside where a LUT is not monotonic.
    table: npt.NDArray[np.uint8] = np.multiply(
        np.clip(shifted / highest, 0, 1), 255
    ).astype(np.uint8)
    return table


def _contrast_notes(
    table: npt.NDArray[np.uint8], counts: npt.NDArray[np.uint32]
) -> frozenset[Note]:
    levels = np.bincount(table, weights=counts, minlength=256)
    used = np.flatnonzero(levels)
    if len(used) == 1:
        return frozenset({Note.CONSTANT})
    share = np.cumsum(levels) / levels.sum()
    low, high = np.searchsorted(share, (_OUTLIERS, 1 - _OUTLIERS))
    notes = set()
    if high - low < LOW_CONTRAST_LEVELS:
        notes.add(Note.LOW_CONTRAST)
    if share[0] + 1 - share[254] > CLIPPED_SHARE:
        notes.add(Note.CLIPPED)
    return frozenset(notes)


def _constant(image: Image, rule: bundle_pb2.GreyRule) -> npt.NDArray[np.uint8]:
    if rule.constant_image != bundle_pb2.CONSTANT_IMAGE_ZERO:
        raise MalformedFrame(
            Reason.CONSTANT_IMAGE,
            "all pixels of the image have the same grey value; check the exposure and "
            "the window, then send the frame again",
        )
    return np.zeros(image.pixels.shape, np.uint8)
