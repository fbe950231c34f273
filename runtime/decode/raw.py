"""Raw pixels, as devices without a DICOM library send them."""

from __future__ import annotations

import math

import numpy as np

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.gate import PixelLayout, refuse_costly
from spinert.runtime.decode.stored import spacing_notes, stored_from_words
from spinert.runtime.errors import MalformedFrame, Reason, UnsupportedFrame
from spinert.runtime.frame import RawFrame, bytes_of, size_of
from spinert.runtime.image import Image, Rescale, Spacing, VoiFunction, Window

__all__ = ["image_from_raw", "is_valid_rescale", "is_valid_window"]

_MAX_RESCALE = 1e100


def image_from_raw(frame: RawFrame, settings: DecodeSettings) -> Image:
    """View the pixels of `frame` as an image; copied only if bits must be cleared.

    The image shares `frame.data`, which must not change while the image lives.

    Raises:
        UnsupportedFrame: BITS_UNSUPPORTED, not 1 to 16 bits stored.
        FrameTooCostly: DIMENSIONS_OUT_OF_RANGE or DECOMPRESSION_BOMB.
        MalformedFrame: PIXEL_DATA_MISSING, PIXEL_DATA_LENGTH, or
            MALFORMED_RAW_IMAGE for a window or rescale without meaning.
        SpinertError: The pixels were lent, and are gone.
    """
    if not 1 <= frame.bits_stored <= 16:
        raise UnsupportedFrame(
            Reason.BITS_UNSUPPORTED,
            f"bits_stored is {frame.bits_stored}; send images of 1 to 16 bits",
        )
    layout = PixelLayout(
        rows=frame.rows,
        columns=frame.columns,
        bits_allocated=8 if frame.bits_stored <= 8 else 16,
        bits_stored=frame.bits_stored,
        is_signed=frame.is_signed,
    )
    refuse_costly(layout, settings)
    _refuse_wrong_length(size_of(frame.data), layout)
    _refuse_meaningless(frame)
    spacing = frame.spacing if frame.spacing and _is_size(frame.spacing) else None
    word = np.uint8 if layout.bits_allocated == 8 else np.dtype("<u2")
    words = np.frombuffer(bytes_of(frame.data), word).reshape(frame.rows, frame.columns)
    return Image(
        pixels=stored_from_words(
            words, bits_stored=frame.bits_stored, is_signed=frame.is_signed
        ),
        bits_stored=frame.bits_stored,
        photometric=frame.photometric,
        modality=frame.rescale,
        window=frame.window,
        spacing=spacing,
        notes=spacing_notes(spacing),
    )


def is_valid_window(window: Window) -> bool:
    """Tell whether `window` has a meaning, PS3.3 C.11.2.1.2.1 and C.11.2.1.3."""
    if not (math.isfinite(window.center) and math.isfinite(window.width)):
        return False
    if window.function is VoiFunction.LINEAR:
        return window.width >= 1
    return window.width > 0


def is_valid_rescale(rescale: Rescale) -> bool:
    """Tell whether `rescale` has a meaning: finite, not flat, and far from overflow.

    Real ones stay below 1e9; beyond 1e100 sums and windows of values overflow.
    """
    slope, intercept = abs(rescale.slope), abs(rescale.intercept)
    return 0 < slope <= _MAX_RESCALE and intercept <= _MAX_RESCALE


def _refuse_wrong_length(length: int, layout: PixelLayout) -> None:
    if length == 0:
        raise MalformedFrame(Reason.PIXEL_DATA_MISSING, "the frame has no pixels")
    if length != layout.n_bytes:
        raise MalformedFrame(
            Reason.PIXEL_DATA_LENGTH,
            f"pixels has {length} bytes; {layout.rows} x {layout.columns} pixels of "
            f"{layout.bits_stored} bits take {layout.n_bytes}",
        )


def _refuse_meaningless(frame: RawFrame) -> None:
    if frame.window is not None and not is_valid_window(frame.window):
        raise MalformedFrame(
            Reason.MALFORMED_RAW_IMAGE,
            "the window must be finite and its width at least 1 (LINEAR) or above 0",
        )
    if frame.rescale is not None and not is_valid_rescale(frame.rescale):
        raise MalformedFrame(
            Reason.MALFORMED_RAW_IMAGE,
            "the rescale must be finite and below 1e100, its slope not 0",
        )


def _is_size(spacing: Spacing) -> bool:
    return all(math.isfinite(v) and v > 0 for v in (spacing.row_mm, spacing.column_mm))
