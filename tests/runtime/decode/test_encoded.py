from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as PillowImage
from support import dicoms
from support.data import data_directory

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.encoded import image_from_encoded
from spinert.runtime.errors import FrameRefused, Reason
from spinert.runtime.image import Note, Photometric

SETTINGS = DecodeSettings()
PHANTOM = dicoms.phantom(bits=8)


def saved(
    picture: PillowImage.Image | np.ndarray, kind: str = "PNG", **options
) -> bytes:
    if isinstance(picture, np.ndarray):
        picture = PillowImage.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def coloured(*channels: np.ndarray) -> np.ndarray:
    return np.stack(channels, axis=2)


def refusal(data: bytes, settings: DecodeSettings = SETTINGS) -> Reason:
    with pytest.raises(FrameRefused) as caught:
        image_from_encoded(data, settings)
    return caught.value.reason


def test_an_eight_bit_png_is_ready_for_display():
    image = image_from_encoded(saved(PHANTOM), SETTINGS)
    assert np.array_equal(image.pixels, PHANTOM)
    assert image.is_display_ready
    assert image.photometric is Photometric.MONOCHROME2
    assert image.notes == {Note.SPACING_MISSING}
    assert not image.pixels.flags.writeable


def test_a_sixteen_bit_png_holds_stored_values():
    pixels = dicoms.phantom(bits=16)
    image = image_from_encoded(saved(pixels), SETTINGS)
    assert image.pixels.dtype == np.uint16
    assert np.array_equal(image.pixels, pixels)
    assert (image.bits_stored, image.is_display_ready) == (16, False)


@pytest.mark.parametrize(
    "picture",
    [
        coloured(PHANTOM, PHANTOM, PHANTOM),
        coloured(PHANTOM, PHANTOM, PHANTOM, np.full_like(PHANTOM, 255)),
        PillowImage.fromarray(PHANTOM).convert(
            "P", palette=PillowImage.Palette.ADAPTIVE
        ),
    ],
    ids=["rgb", "opaque", "palette"],
)
def test_grey_written_in_colour_is_grey(picture):
    image = image_from_encoded(saved(picture), SETTINGS)
    assert np.array_equal(image.pixels, PHANTOM)
    assert image.notes == {Note.SPACING_MISSING}


def test_a_one_bit_png_spans_the_range():
    bits = PillowImage.fromarray(PHANTOM).convert("1")
    assert set(np.unique(image_from_encoded(saved(bits), SETTINGS).pixels)) == {0, 255}


def test_a_slight_tint_is_removed_and_noted_but_colour_is_refused():
    base = np.clip(PHANTOM, 60, 190)
    slight = saved(coloured(base + 9, base, base - 9))
    image = image_from_encoded(slight, SETTINGS)
    assert image.notes == {Note.SPACING_MISSING, Note.TINTED}
    assert np.abs(image.pixels.astype(int) - base).max() <= 3
    assert refusal(slight, DecodeSettings(max_tint=17.9)) is Reason.COLOUR_IMAGE
    assert refusal(saved(coloured(base + 30, base, base - 30))) is Reason.COLOUR_IMAGE
    cmyk = PillowImage.fromarray(PHANTOM).convert("CMYK")
    assert refusal(saved(cmyk, "JPEG")) is Reason.COLOUR_IMAGE


def test_transparent_pixels_are_refused():
    alpha = np.full_like(PHANTOM, 255)
    alpha[5, 5] = 0
    see_through = saved(coloured(PHANTOM, PHANTOM, PHANTOM, alpha))
    assert refusal(see_through) is Reason.ENCODED_FORMAT_UNSUPPORTED
    keyed = saved(PHANTOM, transparency=int(PHANTOM[0, 0]))
    assert refusal(keyed) is Reason.ENCODED_FORMAT_UNSUPPORTED


def test_a_jpeg_is_noted_as_lossy():
    smooth = np.repeat(np.arange(96, dtype=np.uint8)[:, None] * 2, 80, axis=1)
    image = image_from_encoded(saved(smooth, "JPEG", quality=95), SETTINGS)
    assert np.abs(image.pixels.astype(int) - smooth).max() <= 4
    assert image.is_display_ready
    assert image.notes == {Note.SPACING_MISSING, Note.LOSSY_COMPRESSION}


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures_are_turned_as_viewers_turn_them(turn, kind):
    from PIL import ImageOps

    smooth = np.add.outer(np.arange(96) * 2, np.arange(64) // 2).astype(np.uint8)
    exif = PillowImage.Exif()
    exif[0x0112] = turn
    data = saved(smooth, kind, exif=exif)
    with PillowImage.open(io.BytesIO(data)) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    image = image_from_encoded(data, SETTINGS)
    assert image.pixels.flags.c_contiguous
    assert np.array_equal(image.pixels, expected)
    assert image.pixels.shape == ((64, 96) if turn >= 5 else (96, 64))


def test_animations_are_refused():
    second = PillowImage.fromarray(PHANTOM[::-1].copy())
    data = saved(PHANTOM, save_all=True, append_images=[second])
    assert refusal(data) is Reason.MULTI_FRAME


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP"])
def test_other_formats_are_refused(kind):
    assert refusal(saved(PHANTOM, kind)) is Reason.ENCODED_FORMAT_UNSUPPORTED


def test_sixteen_bit_colour_is_refused_before_low_bits_are_lost():
    rows = b"".join(b"\0" + bytes(80 * 6) for _ in range(96))
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", 80, 96, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    )
    assert refusal(data) is Reason.ENCODED_FORMAT_UNSUPPORTED


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("keep", [9, 20, 40, 0.5, 0.9])
def test_files_cut_off_are_refused(kind, keep):
    data = saved(PHANTOM, kind)
    cut = data[: int(keep * len(data)) if keep < 1 else keep]
    assert refusal(cut) is Reason.MALFORMED_ENCODED_IMAGE


def test_nothing_is_refused_as_empty():
    assert refusal(b"") is Reason.EMPTY_FRAME


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_dimensions_are_refused_before_decoding(kind):
    large = saved(np.zeros((1, 9000), np.uint8), kind)
    assert refusal(large) is Reason.DIMENSIONS_OUT_OF_RANGE
    assert refusal(saved(np.zeros((63, 90), np.uint8), kind)) is (
        Reason.DIMENSIONS_OUT_OF_RANGE
    )


def test_a_png_that_claims_gigapixels_is_not_decoded():
    data = bytearray(saved(PHANTOM))
    data[16:24] = struct.pack(">II", 60000, 60000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    assert refusal(bytes(data)) is Reason.DIMENSIONS_OUT_OF_RANGE


def test_every_real_spine_radiograph_is_grey():
    folder = data_directory() / "spine" / "images"
    films = sorted(folder.glob("*.jpg"))[::4]
    assert films
    for film in films:
        image = image_from_encoded(film.read_bytes(), SETTINGS)
        assert min(image.pixels.shape) >= 200


def test_the_most_tinted_film_is_still_taken():
    film = data_directory() / "spine" / "images" / "scol_N91.jpg"
    assert Note.TINTED in image_from_encoded(film.read_bytes(), SETTINGS).notes
