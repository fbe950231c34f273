from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support import dicoms

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.raw import image_from_raw
from spinert.runtime.decode.stored import stored_from_words
from spinert.runtime.errors import FrameRefused, Reason
from spinert.runtime.frame import RawFrame
from spinert.runtime.image import Note, Photometric, Rescale, Spacing, Window

SETTINGS = DecodeSettings()
SQUARE = Spacing(row_mm=0.1, column_mm=0.1)


def raw(pixels: np.ndarray, **changes) -> RawFrame:
    values = {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "bits_stored": 8 * pixels.itemsize,
        "is_signed": False,
        "photometric": Photometric.MONOCHROME1,
        "spacing": SQUARE,
        "data": pixels.tobytes(),
    }
    return RawFrame(**{**values, **changes})


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_pixels_are_viewed_not_copied(bits):
    pixels = dicoms.phantom(bits=bits)
    frame = raw(pixels, bits_stored=bits, window=Window(center=5, width=9))
    image = image_from_raw(frame, SETTINGS)
    assert np.array_equal(image.pixels, pixels)
    assert np.shares_memory(image.pixels, np.frombuffer(frame.data, np.uint8))
    assert not image.pixels.flags.writeable
    assert image.photometric is Photometric.MONOCHROME1
    assert (image.window, image.spacing, image.notes) == (frame.window, SQUARE, set())
    assert not image.is_display_ready


def test_a_view_of_a_message_is_taken_as_it_is():
    pixels = dicoms.phantom()
    message = b"head" + pixels.tobytes() + b"tail"
    image = image_from_raw(raw(pixels, data=memoryview(message)[4:-4]), SETTINGS)
    assert np.array_equal(image.pixels, pixels)


@given(
    words=arrays.arrays(
        st.sampled_from([np.uint8, np.uint16]), (3, 5), elements=st.integers(0, 255)
    ).map(lambda a: a * (257 if a.itemsize == 2 else 1)),
    data=st.data(),
    is_signed=st.booleans(),
)
def test_bits_above_bits_stored_are_ignored(words, data, is_signed):
    bits = data.draw(st.integers(1, 8 * words.itemsize))
    words = words.astype(f"u{words.itemsize}")
    expected = words.astype(np.int64) & ((1 << bits) - 1)
    if is_signed:
        expected = np.where(expected >> (bits - 1), expected - (1 << bits), expected)
    before = words.copy()
    stored = stored_from_words(words, bits_stored=bits, is_signed=is_signed)
    assert np.array_equal(stored, expected)
    assert (stored.dtype == np.int16) is is_signed
    assert np.array_equal(words, before)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bits_stored": 0}, Reason.BITS_UNSUPPORTED),
        ({"bits_stored": 17}, Reason.BITS_UNSUPPORTED),
        ({"rows": 0}, Reason.DIMENSIONS_OUT_OF_RANGE),
        ({"columns": 8193}, Reason.DIMENSIONS_OUT_OF_RANGE),
        ({"data": b""}, Reason.PIXEL_DATA_MISSING),
        ({"data": bytes(96 * 80 * 2 - 1)}, Reason.PIXEL_DATA_LENGTH),
        ({"data": bytes(96 * 80 * 2 + 1)}, Reason.PIXEL_DATA_LENGTH),
        ({"bits_stored": 8}, Reason.PIXEL_DATA_LENGTH),
        ({"window": Window(center=0, width=0.5)}, Reason.MALFORMED_RAW_IMAGE),
        ({"window": Window(center=np.nan, width=5)}, Reason.MALFORMED_RAW_IMAGE),
        ({"rescale": Rescale(slope=0, intercept=5)}, Reason.MALFORMED_RAW_IMAGE),
        ({"rescale": Rescale(slope=1, intercept=np.inf)}, Reason.MALFORMED_RAW_IMAGE),
        ({"rescale": Rescale(slope=1e307, intercept=0)}, Reason.MALFORMED_RAW_IMAGE),
        ({"rescale": Rescale(slope=np.nan, intercept=0)}, Reason.MALFORMED_RAW_IMAGE),
    ],
)
def test_frames_that_contradict_themselves_are_refused(changes, reason):
    with pytest.raises(FrameRefused) as caught:
        image_from_raw(raw(dicoms.phantom(), **changes), SETTINGS)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("spacing", "kept", "notes"),
    [
        (None, None, {Note.SPACING_MISSING}),
        (Spacing(row_mm=0, column_mm=0.1), None, {Note.SPACING_MISSING}),
        (Spacing(row_mm=np.nan, column_mm=0.1), None, {Note.SPACING_MISSING}),
        (
            Spacing(row_mm=0.1, column_mm=0.2),
            Spacing(row_mm=0.1, column_mm=0.2),
            {Note.SPACING_NOT_SQUARE},
        ),
    ],
)
def test_odd_spacing_is_noted(spacing, kept, notes):
    image = image_from_raw(raw(dicoms.phantom(), spacing=spacing), SETTINGS)
    assert (image.spacing, image.notes) == (kept, notes)
