"""Files that lie about their size, or explode: refused before they cost anything."""

from __future__ import annotations

import tracemalloc

import pytest
from support import dicoms

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.dicom import image_from_dicom
from spinert.runtime.decode.gate import (
    PixelLayout,
    refuse_costly,
    refuse_implausible_compression,
    refuse_wrong_length,
)
from spinert.runtime.errors import FrameRefused, FrameTooCostly, MalformedFrame, Reason

SETTINGS = DecodeSettings()
REASONS = {
    "rle_948_bytes": Reason.DIMENSIONS_OUT_OF_RANGE,
    "rle_short": Reason.DECOMPRESSION_BOMB,
    "rle_overflow": Reason.MALFORMED_DICOM,
    "deflate_pixels": Reason.DECOMPRESSION_BOMB,
    "deflate_head": Reason.DECOMPRESSION_BOMB,
    "nesting_50": Reason.NESTING_TOO_DEEP,
    "nesting_5000": Reason.NESTING_TOO_DEEP,
    "nesting_100000": Reason.NESTING_TOO_DEEP,
    "nesting_100000_in_a_lut": Reason.NESTING_TOO_DEEP,
    "element_flood": Reason.TOO_MANY_ELEMENTS,
    "native_lie": Reason.DIMENSIONS_OUT_OF_RANGE,
    "offset_table_lie": Reason.PIXEL_DATA_LENGTH,
    "many_frames": Reason.MULTI_FRAME,
}


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    return dicoms.bombs()


@pytest.mark.parametrize("name", REASONS)
def test_a_bomb_is_refused_with_its_reason(bombs, name):
    with pytest.raises(FrameRefused) as caught:
        image_from_dicom(bombs[name], SETTINGS)
    assert caught.value.reason is REASONS[name]


def test_every_bomb_has_a_reason(bombs):
    assert bombs.keys() == REASONS.keys()


@pytest.mark.parametrize("name", sorted(REASONS.keys() - {"rle_overflow"}))
def test_a_bomb_takes_little_memory(bombs, name):
    tracemalloc.start()
    with pytest.raises(FrameRefused):
        image_from_dicom(bombs[name], SETTINGS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_a_run_length_bomb_never_exceeds_what_its_dimensions_say(bombs):
    # 128 MiB are allowed for 8192 x 8192; the stream holds more and is cut off.
    tracemalloc.start()
    with pytest.raises(FrameRefused):
        image_from_dicom(bombs["rle_overflow"], SETTINGS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 160 * 2**20


def test_sequences_up_to_the_limit_are_stepped_over():
    assert image_from_dicom(dicoms.nested(16), SETTINGS).pixels.shape == (96, 80)
    with pytest.raises(FrameTooCostly):
        image_from_dicom(dicoms.nested(17), SETTINGS)


def layout(**changes) -> PixelLayout:
    values = {
        "rows": 100,
        "columns": 100,
        "bits_allocated": 16,
        "bits_stored": 12,
        "is_signed": False,
    }
    return PixelLayout(**{**values, **changes})


@pytest.mark.parametrize("edge", ["rows", "columns"])
@pytest.mark.parametrize(("value", "fits"), [(63, 0), (64, 1), (8192, 1), (8193, 0)])
def test_edges_are_bound(edge, value, fits):
    if fits:
        refuse_costly(layout(**{edge: value}), SETTINGS)
        return
    with pytest.raises(FrameTooCostly) as caught:
        refuse_costly(layout(**{edge: value}), SETTINGS)
    assert caught.value.reason is Reason.DIMENSIONS_OUT_OF_RANGE


def test_the_decoded_size_is_bound():
    small = DecodeSettings(max_pixel_mib=1)
    refuse_costly(layout(rows=1024, columns=512), small)
    with pytest.raises(FrameTooCostly) as caught:
        refuse_costly(layout(rows=1024, columns=513), small)
    assert caught.value.reason is Reason.DECOMPRESSION_BOMB


def test_only_a_pad_byte_may_follow_native_pixels():
    odd = layout(rows=3, columns=3, bits_allocated=8)
    refuse_wrong_length(9, 9, odd)
    refuse_wrong_length(10, 9, odd)
    for length, available in ((8, 8), (11, 11), (9, 8), (10, 8)):
        with pytest.raises(MalformedFrame):
            refuse_wrong_length(length, available, odd)
    for length in (9, 10):
        with pytest.raises(MalformedFrame):
            refuse_wrong_length(length, length, layout(rows=2, columns=2))


def test_compression_beyond_300_is_implausible():
    refuse_implausible_compression(67, layout())
    with pytest.raises(FrameTooCostly):
        refuse_implausible_compression(66, layout())
