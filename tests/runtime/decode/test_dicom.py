"""The same phantom through every transfer syntax, and files that contradict it."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from support import dicoms
from support.pools import j2k

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.dicom import image_from_dicom
from spinert.runtime.errors import (
    FrameRefused,
    FrameTooCostly,
    MalformedFrame,
    Reason,
    UnsupportedFrame,
)
from spinert.runtime.image import Note

SETTINGS = DecodeSettings()


def refusal(data: bytes, settings: DecodeSettings = SETTINGS) -> FrameRefused:
    with pytest.raises(FrameRefused) as caught:
        image_from_dicom(data, settings)
    assert "CANARY" not in caught.value.message
    return caught.value


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


def test_signed_pixels_of_few_bits_are_extended_to_the_bits_stored():
    few = (dicoms.phantom(bits=8).astype(np.int16) - 128).astype(np.int8)
    data = dicoms.radiograph(
        few.astype(np.int16),
        syntax=dicoms.JPEG_2000,
        bits=12,
        stream=dicoms.fragments(j2k(few)),
    )
    assert np.array_equal(image_from_dicom(data, SETTINGS).pixels, few)


def test_a_large_deflated_image_is_inflated_to_its_end():
    pixels = dicoms.phantom(1600, 1500, bits=16)
    data = dicoms.radiograph(pixels, syntax=dicoms.DEFLATED)
    assert np.array_equal(image_from_dicom(data, SETTINGS).pixels, pixels)


def test_incomplete_run_length_pixels_are_refused():
    # 96 x 80 pixels take 60 runs of 128 bytes in each of the two segments.
    complete = dicoms.rle_lie(96, 80, b"\x81\x07" * 60)
    assert (image_from_dicom(complete, SETTINGS).pixels == 0x0707).all()
    assert refusal(dicoms.rle_lie(96, 80, b"\x81\x07" * 59)).reason in (
        Reason.PIXEL_DATA_LENGTH,
        Reason.MALFORMED_DICOM,
    )


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


def test_a_file_without_the_dicm_prefix_is_refused():
    data = dicoms.radiograph(dicoms.phantom()).replace(b"DICM", b"DICX")
    assert refusal(data).reason is Reason.MALFORMED_DICOM


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
