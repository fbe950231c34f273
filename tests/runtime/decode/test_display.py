"""Attributes of DICOM files that decide how an image is shown and measured."""

from __future__ import annotations

import numpy as np
import pytest
from support import dicoms
from support.dicoms import element, header, item

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.dicom import image_from_dicom
from spinert.runtime.errors import MalformedFrame, Reason
from spinert.runtime.image import (
    Image,
    LookupTable,
    Note,
    Rescale,
    Spacing,
    VoiFunction,
    Window,
)

SETTINGS = DecodeSettings()
CENTER, WIDTH, FUNCTION = 0x00281050, 0x00281051, 0x00281056
INTERCEPT, SLOPE = 0x00281052, 0x00281053
PIXEL_SPACING, IMAGER_SPACING, ASPECT = 0x00280030, 0x00181164, 0x00280034
BODY_PART, LOSSY, STUDY = 0x00180015, 0x00282110, 0x0020000D
MODALITY_LUT, VOI_LUT = 0x00283000, 0x00283010
ENTRIES = [5, 900, 17, 4095]
SEQUENCE_END = dicoms.tag_bytes(0xFFFEE0DD) + bytes(4)


def decoded(changes: dict | None = None, **options) -> Image:
    pixels = options.pop("pixels", dicoms.phantom())
    data = dicoms.radiograph(pixels, bits=12, changes=changes, **options)
    return image_from_dicom(data, SETTINGS)


# -------------------------------------------------------------------- windows


def test_the_first_of_several_windows_counts():
    image = decoded({CENTER: ("DS", "40\\450"), WIDTH: ("DS", "350.5\\1500")})
    assert image.window == Window(center=40, width=350.5)


@pytest.mark.parametrize("function", list(VoiFunction))
def test_the_window_function_is_read(function):
    image = decoded(
        {CENTER: ("DS", "9"), WIDTH: ("DS", "5"), FUNCTION: ("CS", function.value)}
    )
    assert image.window.function is function


def test_an_unknown_window_function_is_refused():
    with pytest.raises(MalformedFrame):
        decoded({CENTER: ("DS", "9"), WIDTH: ("DS", "5"), FUNCTION: ("CS", "GAMMA")})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {CENTER: ("DS", "40")},
        {WIDTH: ("DS", "40")},
        {CENTER: ("DS", ""), WIDTH: ("DS", "")},
    ],
)
def test_half_a_window_is_none(changes):
    assert decoded(changes).window is None


def test_a_narrow_window_is_fine_where_it_has_a_meaning():
    narrow = {CENTER: ("DS", "9"), WIDTH: ("DS", "0.5")}
    with pytest.raises(MalformedFrame):
        decoded(narrow)
    assert decoded({**narrow, FUNCTION: ("CS", "SIGMOID")}).window.width == 0.5


def test_rescale_needs_slope_and_intercept():
    both = {SLOPE: ("DS", "2.5"), INTERCEPT: ("DS", "-1024")}
    assert decoded(both).modality == Rescale(slope=2.5, intercept=-1024)
    assert decoded({SLOPE: ("DS", "2.5")}).modality is None
    for slope in ("0", "1e307"):
        with pytest.raises(MalformedFrame):
            decoded({SLOPE: ("DS", slope), INTERCEPT: ("DS", "0")})


# --------------------------------------------------------------- lookup tables


def sequence_value(
    descriptor: list[int], entries, *, vr: str = "US", syntax: str = dicoms.EXPLICIT
) -> bytes:
    signed = "SS" if descriptor[1] < 0 else "US"
    order = ">" if syntax == dicoms.BIG_ENDIAN else "<"
    first = int(descriptor[1]).to_bytes(
        2, "little" if order == "<" else "big", signed=descriptor[1] < 0
    )
    words = np.array([descriptor[0], 0, descriptor[2]], order + "u2").tobytes()
    value = words[:2] + first + words[4:]
    if not isinstance(entries, bytes):
        entries = np.array(entries, order + "u2").tobytes()
    inside = element(0x00283002, signed, value, syntax)
    return item(inside + element(0x00283006, vr, entries, syntax), syntax)


def with_lut(tag: int, value: bytes, syntax: str = dicoms.EXPLICIT, **options) -> Image:
    return decoded({tag: ("SQ", value)}, syntax=syntax, **options)


def assert_is_table(table: LookupTable, first: int, bits: int, entries) -> None:
    assert (table.first, table.bits) == (first, bits)
    assert table.entries.dtype == np.uint16
    assert table.entries.tolist() == list(entries)


@pytest.mark.parametrize(
    "syntax", [dicoms.EXPLICIT, dicoms.IMPLICIT, dicoms.BIG_ENDIAN, dicoms.DEFLATED]
)
@pytest.mark.parametrize("vr", ["US", "OW"])
def test_lookup_tables_are_read_in_every_encoding(syntax, vr):
    value = sequence_value([4, 100, 12], ENTRIES, vr=vr, syntax=syntax)
    assert_is_table(with_lut(VOI_LUT, value, syntax).voi_lut, 100, 12, ENTRIES)
    assert_is_table(with_lut(MODALITY_LUT, value, syntax).modality, 100, 12, ENTRIES)


@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.IMPLICIT])
def test_signed_images_have_tables_that_start_below_zero(syntax):
    value = sequence_value([4, -2048, 12], ENTRIES, syntax=syntax)
    pixels = dicoms.phantom().astype(np.int16) - 2048
    image = with_lut(VOI_LUT, value, syntax, pixels=pixels)
    assert_is_table(image.voi_lut, -2048, 12, ENTRIES)


def test_no_entries_in_the_descriptor_stand_for_65536():
    entries = np.arange(65536) % 60000
    table = with_lut(VOI_LUT, sequence_value([0, 0, 16], entries, vr="OW")).voi_lut
    assert_is_table(table, 0, 16, entries)


def test_eight_bit_entries_may_be_packed():
    value = sequence_value([3, 0, 8], b"\x01\x02\xff\x00", vr="OW")
    assert_is_table(with_lut(VOI_LUT, value).voi_lut, 0, 8, [1, 2, 255])


def test_a_sequence_of_undefined_length_is_read():
    value = sequence_value([4, 0, 12], ENTRIES)
    lut = header(VOI_LUT, "SQ", dicoms.UNDEFINED) + value + SEQUENCE_END
    table = image_from_dicom(file_with(lut), SETTINGS).voi_lut
    assert_is_table(table, 0, 12, ENTRIES)


LOOSE = element(0x00280010, "US", 96)


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (LOOSE, "comes twice"),
        (header(0x00091001, "SQ", dicoms.UNDEFINED) + LOOSE + SEQUENCE_END, "of items"),
        (header(VOI_LUT, "SQ", dicoms.UNDEFINED) + item(b""), "of items"),
        (item(b""), "outside a sequence"),
    ],
    ids=["twice", "no item", "pixels inside", "stray item"],
)
def test_structures_that_break_the_standard_are_refused(extra, told):
    with pytest.raises(MalformedFrame) as caught:
        image_from_dicom(file_with(extra), SETTINGS)
    assert caught.value.reason is Reason.MALFORMED_DICOM
    assert told in caught.value.message


def test_values_far_too_long_are_not_converted():
    with pytest.raises(MalformedFrame) as caught:
        decoded({STUDY: ("UT", "1" * 300_000)})
    assert "(0020,000D)" in caught.value.message


def test_bytes_are_not_taken_for_numbers():
    with pytest.raises(MalformedFrame):
        decoded({CENTER: ("OB", b"\x05\x06"), WIDTH: ("DS", "9")})


def test_a_sequence_written_as_unknown_is_read():
    value = sequence_value([4, 0, 12], ENTRIES, syntax=dicoms.IMPLICIT)
    assert_is_table(decoded({VOI_LUT: ("UN", value)}).voi_lut, 0, 12, ENTRIES)


def file_with(extra: bytes) -> bytes:
    """Return a file with `extra` between the attributes and the pixels."""
    before = dicoms.dataset(dicoms.attributes(96, 80, 16, 16), dicoms.EXPLICIT)
    pixels = element(dicoms.PIXEL_DATA, "OW", dicoms.phantom().tobytes())
    return dicoms.part10(dicoms.EXPLICIT, before + extra + pixels)


def test_empty_sequences_and_items_mean_no_table():
    assert with_lut(VOI_LUT, b"").voi_lut is None
    undefined = file_with(header(VOI_LUT, "SQ", dicoms.UNDEFINED) + SEQUENCE_END)
    assert image_from_dicom(undefined, SETTINGS).voi_lut is None
    assert with_lut(VOI_LUT, item(b"")).voi_lut is None


@pytest.mark.parametrize(
    ("descriptor", "entries"),
    [
        ([5, 0, 12], ENTRIES),
        ([4, 0, 7], ENTRIES),
        ([4, 0, 17], ENTRIES),
        ([4, 0, 8], ENTRIES),
        ([4, 0, 12], b"\x01\x02\x03"),
    ],
)
def test_tables_that_contradict_their_descriptor_are_refused(descriptor, entries):
    vr = "OW" if isinstance(entries, bytes) else "US"
    with pytest.raises(MalformedFrame) as caught:
        with_lut(VOI_LUT, sequence_value(descriptor, entries, vr=vr))
    assert caught.value.reason is Reason.MALFORMED_DICOM


def test_a_table_that_is_no_item_is_refused():
    with pytest.raises(MalformedFrame):
        with_lut(VOI_LUT, b"no item at all! ")


# -------------------------------------------------------------------- spacing


@pytest.mark.parametrize(
    ("changes", "spacing", "notes"),
    [
        ({}, Spacing(row_mm=0.2, column_mm=0.2), set()),
        ({PIXEL_SPACING: None}, None, {Note.SPACING_MISSING}),
        ({PIXEL_SPACING: ("DS", "0\\0")}, None, {Note.SPACING_MISSING}),
        ({PIXEL_SPACING: ("DS", "0.2")}, None, {Note.SPACING_MISSING}),
        ({PIXEL_SPACING: ("DS", "x\\0.2")}, None, {Note.SPACING_MISSING}),
        ({PIXEL_SPACING: ("DS", "-1\\0.2")}, None, {Note.SPACING_MISSING}),
        (
            {PIXEL_SPACING: ("DS", "0\\0"), IMAGER_SPACING: ("DS", "0.15\\0.15")},
            Spacing(row_mm=0.15, column_mm=0.15),
            set(),
        ),
        (
            {PIXEL_SPACING: ("DS", "0.2\\0.3")},
            Spacing(row_mm=0.2, column_mm=0.3),
            {Note.SPACING_NOT_SQUARE},
        ),
        (
            {PIXEL_SPACING: None, ASPECT: ("IS", "4\\3")},
            None,
            {Note.SPACING_MISSING, Note.SPACING_NOT_SQUARE},
        ),
    ],
)
def test_odd_spacing_is_noted_not_refused(changes, spacing, notes):
    image = decoded(changes)
    assert image.spacing == spacing
    assert image.notes == notes


# ---------------------------------------------------------------- other notes


@pytest.mark.parametrize(
    ("part", "is_noted"),
    [
        ("CHEST", True),
        ("hip ", True),
        ("LSPINE", False),
        ("ROOM 7", False),
        ("", False),
        (None, False),
    ],
)
def test_only_clearly_other_body_parts_are_noted(part, is_noted):
    changes = {BODY_PART: None if part is None else ("CS", part)}
    assert (Note.UNEXPECTED_BODY_PART in decoded(changes).notes) is is_noted


def test_declared_loss_is_noted():
    assert Note.LOSSY_COMPRESSION in decoded({LOSSY: ("CS", "01")}).notes
    assert Note.LOSSY_COMPRESSION not in decoded({LOSSY: ("CS", "00")}).notes


@pytest.mark.parametrize(("declared", "is_noted"), [(None, True), ("00", False)])
def test_a_syntax_that_allows_loss_is_noted_unless_denied(declared, is_noted):
    import imagecodecs

    pixels = dicoms.phantom()
    stream = dicoms.fragments(imagecodecs.jpegls_encode(pixels))
    changes = {LOSSY: None if declared is None else ("CS", declared)}
    image = decoded(changes, syntax=dicoms.JPEG_LS_NEAR, stream=stream)
    assert (Note.LOSSY_COMPRESSION in image.notes) is is_noted


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1.2.840.1", "1.2.840.1"), ("DOE^JOHN", ""), ("1" * 65, "")],
)
def test_only_valid_study_uids_are_kept(value, expected):
    assert decoded({STUDY: ("UI", value)}).study_uid == expected
    assert decoded({STUDY: None}).study_uid == ""
