"""Modality LUT, VOI LUT and windows as tables over stored values.

Own code after PS3.3 C.11.1 and C.11.2, in float64, so that it gives the very
numbers of pydicom 3 (`apply_modality_lut`, `apply_voi_lut`), which the official
preprocessing calls. Two departures, both where pydicom overflows an integer: LUT
indices are never wrapped (8-bit LUTs of more than 256 entries), nor are signed
differences.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2
from spinert.runtime.image import Image, LookupTable, Rescale, VoiFunction, Window

__all__ = ["values_after_voi"]

Values = npt.NDArray[np.float64]


def values_after_voi(stored: Values, image: Image, rule: bundle_pb2.GreyRule) -> Values:
    """Map stored values through the modality and VOI steps that `rule` asks for.

    Args:
        stored: Stored values [n], any order.
        image: Whose attributes apply; its pixels are not touched.
        rule: Which steps, and which of VOI LUT and window wins.

    Returns:
        Values [n] for display, before inversion and stretching.
    """
    values = _after_modality(stored, image) if rule.modality_lut else stored
    lut, window = image.voi_lut, image.window
    if rule.voi == bundle_pb2.VOI_IGNORED:
        return values
    if window and (lut is None or rule.voi == bundle_pb2.VOI_WINDOW_THEN_LUT):
        return _windowed(values, window, *_output_range(image))
    return _looked_up(values, lut) if lut else values


def _after_modality(stored: Values, image: Image) -> Values:
    match image.modality:
        case LookupTable():
            return _looked_up(stored, image.modality)
        case Rescale(slope=slope, intercept=intercept):
            return stored * slope + intercept
        case None:
            return stored


def _looked_up(values: Values, lut: LookupTable) -> Values:
    # Below the first value mapped the first entry applies, beyond the last the last.
    index = np.clip(values - lut.first, 0, len(lut.entries) - 1).astype(np.intp)
    return lut.entries[index].astype(np.float64)


def _output_range(image: Image) -> tuple[float, float]:
    """Return what a window maps to, PS3.3 C.11.2.1.2.1: the range of its input.

    It follows from the attributes even where the modality step is not applied:
    that is what pydicom does, and truncation to 8 bits makes it visible.
    """
    if isinstance(image.modality, LookupTable):
        return 0, 2**image.modality.bits - 1
    half = 2 ** (image.bits_stored - 1)
    low, high = (-half, half - 1) if image.is_signed else (0, 2 * half - 1)
    if image.modality is None:
        return low, high
    slope, intercept = image.modality.slope, image.modality.intercept
    return low * slope + intercept, high * slope + intercept


def _windowed(values: Values, window: Window, low: float, high: float) -> Values:
    center, width, span = window.center, window.width, high - low
    if window.function is VoiFunction.SIGMOID:
        # PS3.3 C.11.2.1.3.1; far below the centre exp overflows to inf, giving low.
        with np.errstate(over="ignore"):
            scaled: Values = span / (1 + np.exp(-4 * (values - center) / width)) + low
        return scaled
    if window.function is VoiFunction.LINEAR:
        center, width = center - 0.5, width - 1
    below = values <= center - width / 2
    above = values > center + width / 2
    # The ramp of all values, because picking those between takes longer. What it makes
    # of the others is not kept, as with a LINEAR width of 1, which is a step.
    with np.errstate(all="ignore"):
        result = values - center
        result /= width
        result += 0.5
        result *= span
        result += low
    np.copyto(result, low, where=below)
    np.copyto(result, high, where=above)
    return result
