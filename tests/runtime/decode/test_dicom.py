"""Real files of every kind, and the same phantom through every transfer syntax."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from support import dicoms
from support.data import data_directory, pydicom_data

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.dicom import image_from_dicom, image_from_file
from spinert.runtime.decode.dicom_file import dicom_file
from spinert.runtime.errors import (
    FrameRefused,
    FrameTooCostly,
    MalformedFrame,
    Reason,
    UnsupportedFrame,
)
from spinert.runtime.image import Note, Photometric, Spacing, Window

SETTINGS = DecodeSettings()
WIDE = DecodeSettings(min_edge_px=16)


def stored_file(name: str) -> bytes:
    return (data_directory() / "dicom" / name).read_bytes()


def below_the_gate(data: bytes):
    return image_from_file(dicom_file(data, WIDE))


def refusal(data: bytes, settings: DecodeSettings = SETTINGS) -> FrameRefused:
    with pytest.raises(FrameRefused) as caught:
        image_from_dicom(data, settings)
    assert "CANARY" not in caught.value.message
    return caught.value


# ------------------------------------------------------------------ real files


def test_one_hip_in_four_transfer_syntaxes_has_the_same_pixels():
    names = ("j2k_lossless", "jpeglossless_sv1", "jpegls_lossless", "rle")
    hips = [
        image_from_dicom(stored_file(f"cr_hip_mono2_10bit_{name}.dcm"), SETTINGS)
        for name in names
    ]
    assert hips[0].pixels.shape == (2140, 1760)
    for hip in hips:
        assert np.array_equal(hip.pixels, hips[0].pixels)
        assert hip.window == Window(center=511, width=1024)
        assert hip.spacing == Spacing(row_mm=0.2, column_mm=0.2)
        assert hip.notes == {Note.UNEXPECTED_BODY_PART}
        assert hip.bits_stored == 10
        assert hip.study_uid


def test_the_hip_in_lossy_twelve_bit_jpeg_is_close_and_noted():
    exact = image_from_dicom(stored_file("cr_hip_mono2_10bit_rle.dcm"), SETTINGS)
    lossy = image_from_dicom(
        stored_file("cr_hip_mono2_jpeg_extended_fixed.dcm"), SETTINGS
    )
    error = np.abs(lossy.pixels.astype(int) - exact.pixels)
    assert error.mean() < 4
    assert Note.LOSSY_COMPRESSION in lossy.notes


def test_a_chest_with_spacing_zero_has_no_spacing():
    chest = image_from_dicom(
        stored_file("cr_chest_pa_mono1_15bit_j2klossy.dcm"), SETTINGS
    )
    assert chest.photometric is Photometric.MONOCHROME1
    assert chest.bits_stored == 15
    assert chest.spacing is None
    assert chest.notes == {
        Note.SPACING_MISSING,
        Note.LOSSY_COMPRESSION,
        Note.UNEXPECTED_BODY_PART,
    }


@pytest.mark.parametrize("name", ["RG1", "RG3"])
def test_lossless_jpeg_2000_equals_the_uncompressed_original(name):
    plain = image_from_dicom(pydicom_data(f"{name}_UNCR.dcm").read_bytes(), SETTINGS)
    packed = image_from_dicom(pydicom_data(f"{name}_J2KR.dcm").read_bytes(), SETTINGS)
    assert plain.photometric is Photometric.MONOCHROME1
    assert plain.pixels.max() > 1000
    assert np.array_equal(plain.pixels, packed.pixels)


def test_the_other_radiographs_decode():
    leg = image_from_dicom(stored_file("cr_leg_mono1_10bit_j2k_lossless.dcm"), SETTINGS)
    tibia = image_from_dicom(pydicom_data("RG3_UNCR.dcm").read_bytes(), SETTINGS)
    assert np.array_equal(leg.pixels, tibia.pixels)
    dx = image_from_dicom(
        stored_file("dx_chest_mono1_12bit_j2k_lossless.dcm"), SETTINGS
    )
    assert (dx.pixels.min(), dx.pixels.max()) == (0, 4095)
    assert dx.spacing == Spacing(row_mm=0.16, column_mm=0.16)


def test_test_patterns_and_mr_decode_below_the_gate():
    big_endian = below_the_gate(stored_file("mr_bigendian.dcm"))
    assert (big_endian.pixels.dtype, big_endian.is_signed) == (np.int16, True)
    assert (big_endian.pixels.min(), big_endian.pixels.max()) == (127, 2145)
    modality = below_the_gate(stored_file("ot_testpattern_modalitylutseq.dcm"))
    assert (modality.pixels.min(), modality.pixels.max()) == (-2048, 2047)
    assert modality.modality.first == -2048
    assert len(modality.modality.entries) == 4096
    voi = below_the_gate(stored_file("ot_testpattern_voilutseq.dcm"))
    assert (voi.voi_lut.first, voi.voi_lut.bits) == (0, 16)
    assert len(voi.voi_lut.entries) == 256
    deflated = below_the_gate(stored_file("ot_testpattern_deflated.dcm"))
    assert deflated.pixels.shape == (512, 512)
    assert np.ptp(deflated.pixels) == 255


def test_pixels_agree_with_pydicom_where_it_can_decode_by_itself():
    import pydicom

    for name in ("mr_bigendian.dcm", "ot_testpattern_modalitylutseq.dcm"):
        data = data_directory() / "dicom" / name
        expected = pydicom.dcmread(data).pixel_array
        assert np.array_equal(below_the_gate(data.read_bytes()).pixels, expected)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("BROKEN_no_meta.dcm", Reason.MALFORMED_DICOM),
        ("BROKEN_meta_missing_transfer_syntax.dcm", Reason.MALFORMED_DICOM),
        ("BROKEN_ct_bad_sequence_multiwindow.dcm", Reason.MODALITY_NOT_ACCEPTED),
        ("BROKEN_mr_truncated_pixeldata.dcm", Reason.MODALITY_NOT_ACCEPTED),
        ("us_rgb_nonsquare_pixelaspect_4_3.dcm", Reason.COLOUR_IMAGE),
        ("mr_bigendian.dcm", Reason.MODALITY_NOT_ACCEPTED),
        ("ot_testpattern_deflated.dcm", Reason.MODALITY_NOT_ACCEPTED),
    ],
)
def test_files_that_are_not_served_say_why(name, reason):
    assert refusal(stored_file(name)).reason is reason


def test_a_truncated_file_is_refused_where_its_modality_is_accepted():
    taken = DecodeSettings(accept_modalities=("MR",))
    data = stored_file("BROKEN_mr_truncated_pixeldata.dcm")
    assert refusal(data, taken).reason is Reason.PIXEL_DATA_LENGTH


# ------------------------------------------------------------- every encoding


@pytest.mark.parametrize(
    "syntax", [dicoms.IMPLICIT, dicoms.EXPLICIT, dicoms.BIG_ENDIAN, dicoms.DEFLATED]
)
@pytest.mark.parametrize("kind", ["u1", "u2", "i1", "i2"])
def test_native_pixels_survive(syntax, kind):
    pixels = dicoms.phantom(bits=8).astype("u1").view(kind[0] + "1").astype(kind)
    pixels = pixels * (np.dtype(kind).itemsize * 100 - 99)
    image = image_from_dicom(dicoms.radiograph(pixels, syntax=syntax), SETTINGS)
    assert np.array_equal(image.pixels, pixels)
    assert image.is_signed == (kind[0] == "i")
    assert not image.pixels.flags.writeable
    assert image.study_uid == "1.2.3.4"


def test_eight_bit_pixels_in_big_endian_words_are_swapped_back():
    pixels = dicoms.phantom(bits=8)
    body = dicoms.dataset(dicoms.attributes(96, 80, 8, 8), dicoms.BIG_ENDIAN)
    swapped = pixels.reshape(-1, 2)[:, ::-1].tobytes()
    value = dicoms.element(dicoms.PIXEL_DATA, "OW", swapped, dicoms.BIG_ENDIAN)
    image = image_from_dicom(dicoms.part10(dicoms.BIG_ENDIAN, body + value), SETTINGS)
    assert np.array_equal(image.pixels, pixels)


def j2k(pixels: np.ndarray, **options) -> bytes:
    asked = {"codecformat": "j2k", "reversible": True, "level": 0, **options}
    return imagecodecs.jpeg2k_encode(pixels, **asked)


ENCODERS = {
    "jpeg_ls": (dicoms.JPEG_LS, imagecodecs.jpegls_encode),
    "jpeg_2000": (dicoms.JPEG_2000, j2k),
    "jpeg_2000_in_jp2": (dicoms.JPEG_2000, lambda a: j2k(a, codecformat="jp2")),
    "htj2k": (dicoms.HTJ2K, imagecodecs.htj2k_encode),
    "jpeg_lossless": (dicoms.JPEG_LOSSLESS, imagecodecs.ljpeg_encode),
}


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("name", ENCODERS)
def test_lossless_compression_survives(name, bits):
    syntax, encode = ENCODERS[name]
    pixels = dicoms.phantom(bits=bits)
    data = dicoms.radiograph(
        pixels, syntax=syntax, bits=bits, stream=dicoms.fragments(encode(pixels))
    )
    image = image_from_dicom(data, SETTINGS)
    assert np.array_equal(image.pixels, pixels)
    assert Note.LOSSY_COMPRESSION not in image.notes


def test_signed_pixels_survive_compression():
    signed = dicoms.phantom(bits=12).astype(np.int16) - 2048
    as_j2k = dicoms.radiograph(
        signed, syntax=dicoms.JPEG_2000, bits=12, stream=dicoms.fragments(j2k(signed))
    )
    assert np.array_equal(image_from_dicom(as_j2k, SETTINGS).pixels, signed)
    low_bits = imagecodecs.jpegls_encode(signed.view(np.uint16) & 0xFFF)
    as_jls = dicoms.radiograph(
        signed, syntax=dicoms.JPEG_LS, bits=12, stream=dicoms.fragments(low_bits)
    )
    assert np.array_equal(image_from_dicom(as_jls, SETTINGS).pixels, signed)


def test_baseline_jpeg_is_close_and_noted():
    pixels = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[:, None], 96, axis=1)
    stream = dicoms.fragments(imagecodecs.jpeg8_encode(pixels, level=95))
    data = dicoms.radiograph(pixels, syntax=dicoms.JPEG_BASELINE, stream=stream)
    image = image_from_dicom(data, SETTINGS)
    assert np.abs(image.pixels.astype(int) - pixels).max() < 6
    assert image.notes == {Note.LOSSY_COMPRESSION}
    # A DICOM image is never taken as displayed already, whatever its codec.
    assert not image.is_display_ready


def test_several_fragments_and_an_offset_table_are_joined():
    pixels = dicoms.phantom()
    stream = j2k(pixels)
    split = dicoms.fragments(stream[:1000], stream[1000:], table=b"\xff" * 8)
    data = dicoms.radiograph(pixels, syntax=dicoms.JPEG_2000, bits=12, stream=split)
    assert np.array_equal(image_from_dicom(data, SETTINGS).pixels, pixels)


# ------------------------------------------------- pixels against attributes


def test_unused_high_bits_are_cleared():
    pixels = dicoms.phantom(bits=12)
    image = image_from_dicom(dicoms.radiograph(pixels | 0xA000, bits=12), SETTINGS)
    assert np.array_equal(image.pixels, pixels)


def test_uncompressed_pixels_are_not_copied():
    data = dicoms.radiograph(dicoms.phantom(), bits=12)
    image = image_from_dicom(data, SETTINGS)
    assert np.shares_memory(image.pixels, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({0x00280010: ("US", 97)}, Reason.PIXEL_DATA_LENGTH),
        ({0x00280010: ("US", 95)}, Reason.PIXEL_DATA_LENGTH),
        ({0x00280010: None}, Reason.MALFORMED_DICOM),
        ({0x00280010: ("US", [96, 96])}, Reason.MALFORMED_DICOM),
        ({0x00280010: ("DS", "abc")}, Reason.MALFORMED_DICOM),
        ({0x00280010: ("US", 0)}, Reason.DIMENSIONS_OUT_OF_RANGE),
        ({0x00280100: ("US", 32)}, Reason.BITS_UNSUPPORTED),
        ({0x00280101: ("US", 0)}, Reason.BITS_UNSUPPORTED),
        ({0x00280101: ("US", 17)}, Reason.BITS_UNSUPPORTED),
        ({0x00280102: ("US", 15)}, Reason.BITS_UNSUPPORTED),
        ({0x00281052: ("DS", "0"), 0x00281053: ("DS", "0")}, Reason.MALFORMED_DICOM),
        ({0x00281050: ("DS", "9"), 0x00281051: ("DS", "0")}, Reason.MALFORMED_DICOM),
        ({0x00281050: ("DS", "nan"), 0x00281051: ("DS", "9")}, Reason.MALFORMED_DICOM),
        ({0x00281050: ("DS", "a"), 0x00281051: ("DS", "9")}, Reason.MALFORMED_DICOM),
    ],
)
def test_attributes_without_meaning_are_refused(changes, reason):
    data = dicoms.radiograph(dicoms.phantom(), bits=12, changes=changes)
    assert refusal(data).reason is reason


def test_compressed_pixels_of_another_size_or_depth_are_refused():
    other = dicoms.fragments(j2k(dicoms.phantom(97, 80)))
    deep = dicoms.fragments(imagecodecs.jpegls_encode(dicoms.phantom(bits=12)))
    for syntax, stream, pixels in (
        (dicoms.JPEG_2000, other, dicoms.phantom()),
        (dicoms.JPEG_LS, deep, dicoms.phantom(bits=8)),
    ):
        data = dicoms.radiograph(pixels, syntax=syntax, stream=stream)
        error = refusal(data)
        assert isinstance(error, MalformedFrame)
        assert error.reason is Reason.MALFORMED_DICOM


def test_compressed_colours_are_refused():
    colours = np.stack([dicoms.phantom(bits=8)] * 3, axis=2)
    data = dicoms.radiograph(
        dicoms.phantom(bits=8),
        syntax=dicoms.JPEG_BASELINE,
        stream=dicoms.fragments(imagecodecs.jpeg8_encode(colours)),
    )
    assert refusal(data).reason is Reason.COLOUR_IMAGE


def test_a_jpeg_2000_image_of_a_million_tiles_is_refused_unread():
    stream = bytearray(j2k(dicoms.phantom(1024, 1024)))
    stream[24:32] = (1).to_bytes(4, "big") * 2
    data = dicoms.radiograph(
        dicoms.phantom(1024, 1024),
        syntax=dicoms.JPEG_2000,
        bits=12,
        stream=dicoms.fragments(bytes(stream)),
    )
    error = refusal(data)
    assert error.reason is Reason.MALFORMED_DICOM
    assert "tiles" in error.message


def test_native_pixels_in_fragments_and_the_reverse_are_refused():
    pixels = dicoms.phantom()
    wrapped = dicoms.radiograph(pixels, stream=dicoms.fragments(pixels.tobytes()))
    assert refusal(wrapped).reason is Reason.MALFORMED_DICOM
    bare = dicoms.radiograph(pixels, syntax=dicoms.JPEG_2000)
    assert refusal(bare).reason is Reason.MALFORMED_DICOM


def test_an_unknown_transfer_syntax_is_named():
    error = refusal(
        dicoms.radiograph(dicoms.phantom(), syntax="1.2.840.10008.1.2.4.100")
    )
    assert isinstance(error, UnsupportedFrame)
    assert error.reason is Reason.TRANSFER_SYNTAX_UNSUPPORTED
    assert "1.2.840.10008.1.2.4.100" in error.message


def test_files_without_pixels_or_bytes_are_refused():
    plain = dicoms.attributes(96, 80, 16, 16)
    body = dicoms.dataset(plain, dicoms.EXPLICIT)
    no_pixels = dicoms.part10(dicoms.EXPLICIT, body)
    assert refusal(no_pixels).reason is Reason.PIXEL_DATA_MISSING
    no_fragment = dicoms.radiograph(
        dicoms.phantom(), syntax=dicoms.RLE, stream=dicoms.fragments()
    )
    assert refusal(no_fragment).reason is Reason.PIXEL_DATA_MISSING
    assert refusal(b"").reason is Reason.EMPTY_FRAME


@pytest.mark.parametrize("cut", [100, 131, 140, 200, 400, 1000, -40])
def test_a_file_cut_anywhere_is_refused(cut):
    for syntax in (dicoms.EXPLICIT, dicoms.IMPLICIT, dicoms.DEFLATED):
        refusal(dicoms.radiograph(dicoms.phantom(), syntax=syntax)[:cut])


def test_too_little_memory_is_its_own_reason(monkeypatch):
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("spinert.runtime.decode.dicom.dicom_file", exhausted)
    error = refusal(b"any")
    assert isinstance(error, FrameTooCostly)
    assert error.reason is Reason.DECODE_MEMORY
