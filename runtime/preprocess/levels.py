"""The 8-bit grey level of every stored value of an image: one lookup table per frame.

The order is that of the official preprocessing (VinDr-SpineXR `dicom2png.py`):
VOI, inversion of MONOCHROME1, minus the minimum, divided by the maximum, times
255, truncated; all in float64, over the values that occur in the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2
from spinert.runtime import _native
from spinert.runtime.errors import MalformedFrame, Reason
from spinert.runtime.image import Image, Photometric
from spinert.runtime.preprocess.voi import values_after_voi

__all__ = ["Levels", "levels_from_counts", "levels_from_image"]

Counts = npt.NDArray[np.uint32]
Values = npt.NDArray[np.float64]

_FIRST = -(1 << 15)
_STORED = np.arange(_FIRST, 1 << 16, dtype=np.float64)
"""Every value that 16 bits, signed or not, can hold."""
_STORED.setflags(write=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """What becomes of the stored values of one image."""

    first: int
    """The smallest stored value that occurs."""
    table: npt.NDArray[np.uint8]
    """[n]: the grey level of stored value `first + i`; its ends occur in the image."""
    is_constant: bool
    """True if all pixels get the same level; `table` is 0 then."""


def levels_from_image(image: Image, rule: bundle_pb2.GreyRule) -> Levels:
    """Reduce the stored values of `image` to 8 bits as `rule` says.

    PNG and JPEG of 8 bits are grey already and pass unchanged.

    Raises:
        MalformedFrame: CONSTANT_IMAGE, if the rule refuses images without content;
            MALFORMED_DICOM, if rescale or window drive values out of all numbers.
    """
    first, last = _native.value_range(image.pixels)

    def counted() -> Counts:
        counts = np.zeros(last - first + 1, np.uint32)
        _native.count_values(image.pixels, first=first, counts=counts)
        return counts

    return _levels(image, rule, (first, last), counted)


def levels_from_counts(
    image: Image, rule: bundle_pb2.GreyRule, first: int, counts: Counts
) -> Levels:
    """Do the same as `levels_from_image` without looking at the pixels.

    Args:
        image: Whose attributes apply.
        rule: The bundle's.
        first: The smallest stored value that occurs.
        counts: How often each value occurs, from `first` to the largest.

    Raises:
        MalformedFrame: As `levels_from_image`.
    """
    return _levels(image, rule, (first, first + len(counts) - 1), lambda: counts)


def _levels(
    image: Image,
    rule: bundle_pb2.GreyRule,
    ends: tuple[int, int],
    counted: Callable[[], Counts],
) -> Levels:
    first, last = ends
    if image.is_display_ready:
        is_constant = first == last
        table = np.arange(first, last + 1).astype(np.uint8)
    else:
        values = _display_values(image, rule, first, last)
        low, high = _extremes(values, counted)
        is_constant = low == high
        table = _stretched(values, low, high)
    if is_constant:
        _refuse_constant(rule)
        table[:] = 0
    return Levels(first=first, table=table, is_constant=is_constant)


def _display_values(
    image: Image, rule: bundle_pb2.GreyRule, first: int, last: int
) -> Values:
    stored = _STORED[first - _FIRST : last + 1 - _FIRST]
    with np.errstate(over="ignore", invalid="ignore"):  # `_stretched` refuses those
        values = values_after_voi(stored, image, rule)
    if rule.invert_monochrome1 and image.photometric is Photometric.MONOCHROME1:
        # The official max - value follows in `_stretched`, which knows the extremes:
        # -value - min(-value) is the same, rounding included.
        return -values
    return values


def _extremes(values: Values, counted: Callable[[], Counts]) -> tuple[float, float]:
    """Return the smallest and largest of the values that occur in the image.

    Where values only rise or only fall with the stored value, as all but odd lookup
    tables let them, these are the first and the last: both occur. Elsewhere every
    pixel has to be counted.
    """
    ends = float(values[0]), float(values[-1])
    before, after = values[:-1], values[1:]
    if ends[0] > ends[1]:
        before, after = after, before
    if (after >= before).all():
        return min(ends), max(ends)
    occurring = values[counted() > 0]
    return float(occurring.min()), float(occurring.max())


def _stretched(values: Values, low: float, high: float) -> npt.NDArray[np.uint8]:
    """Stretch low..high to 0..255; all 0 if equal."""
    with np.errstate(over="ignore", invalid="ignore"):
        stretched = values - low
        highest = np.float64(high) - low
    if not (np.isfinite(highest) and np.isfinite(stretched).all()):
        raise MalformedFrame(
            Reason.MALFORMED_DICOM,
            "rescale or window drive the grey values out of all numbers; correct them",
        )
    if highest == 0:
        return np.zeros(values.shape, np.uint8)
    stretched /= highest
    # Values that do not occur may lie outside where a LUT is not monotonic.
    np.clip(stretched, 0, 1, out=stretched)
    stretched *= 255
    return stretched.astype(np.uint8)


def _refuse_constant(rule: bundle_pb2.GreyRule) -> None:
    if rule.constant_image != bundle_pb2.CONSTANT_IMAGE_ZERO:
        raise MalformedFrame(
            Reason.CONSTANT_IMAGE,
            "all pixels of the image have the same grey value; check the exposure and "
            "the window, then send the frame again",
        )
