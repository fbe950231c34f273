"""PNG and JPEG files as images. Runs in decode workers only.

EXIF orientation is applied, so boxes refer to the picture that viewers show and
that `cv2.imread` gives. An alpha channel is refused unless it is opaque
throughout: what lies under transparent pixels is not what a reader saw.
"""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageChops, ImageStat

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.codestream import StreamHeader, jpeg_header
from spinert.runtime.decode.gate import PixelLayout, refuse_costly
from spinert.runtime.errors import (
    FrameTooCostly,
    MalformedFrame,
    Reason,
    SpinertError,
    UnsupportedFrame,
)
from spinert.runtime.file_kind import JPEG_BEGIN, PNG_BEGIN
from spinert.runtime.frame import Buffer
from spinert.runtime.image import Image, Note, Photometric

__all__ = ["image_from_encoded"]

_PNG_COLOUR = (2, 6)
_ORIENTATION = 0x0112


def image_from_encoded(data: Buffer, settings: DecodeSettings) -> Image:
    """Decode a PNG or JPEG file within the limits of `settings`.

    Returns:
        8 bits: grey levels, ready for display. 16-bit grey PNG: stored values. The
        spacing is unknown: such files have no place for it that can be trusted.

    Raises:
        FrameRefused: With the reason; nothing else leaves this function.
    """
    if not data:
        raise MalformedFrame(Reason.EMPTY_FRAME, "the frame has no bytes")
    try:
        with warnings.catch_warnings():
            # Pillow warns of oddities in metadata, which is not used.
            warnings.simplefilter("ignore")
            return _image(data, settings)
    except SpinertError:
        raise
    except MemoryError:
        raise FrameTooCostly(
            Reason.DECODE_MEMORY,
            "decoding this file takes more memory than one frame may use "
            "(decode.memory_mib)",
        ) from None
    except Exception:
        raise _malformed("is damaged or cut off") from None


def _image(data: Buffer, settings: DecodeSettings) -> Image:
    notes = {Note.SPACING_MISSING}
    if data[: len(PNG_BEGIN)] == PNG_BEGIN:
        header, names = _png_header(data), ["PNG"]
    elif data[: len(JPEG_BEGIN)] == JPEG_BEGIN:
        header, names = _jpeg_header(data), ["JPEG"]
        notes.add(Note.LOSSY_COMPRESSION)
    else:
        raise UnsupportedFrame(
            Reason.ENCODED_FORMAT_UNSUPPORTED, "only PNG and JPEG files are read"
        )
    _refuse_costly(header, settings)
    with PillowImage.open(io.BytesIO(data), formats=names) as picture:
        # A JPEG with previews (MPO) counts as the one picture that viewers show.
        if names == ["PNG"] and getattr(picture, "n_frames", 1) != 1:
            raise UnsupportedFrame(Reason.MULTI_FRAME, "the PNG is animated")
        picture.load()
        turn = picture.getexif().get(_ORIENTATION, 1)
        grey, tint = _grey(picture, settings.max_tint)
    if tint > 0:
        notes.add(Note.TINTED)
    pixels = np.ascontiguousarray(_turned(_stored(grey), turn))
    pixels.flags.writeable = False
    is_byte = pixels.dtype == np.uint8
    return Image(
        pixels=pixels,
        bits_stored=8 if is_byte else 16,
        photometric=Photometric.MONOCHROME2,
        is_display_ready=is_byte,
        notes=frozenset(notes),
    )


def _png_header(data: Buffer) -> StreamHeader:
    """Read the IHDR chunk, PNG (third edition) section 11.2.1."""
    if len(data) < 33 or bytes(data[12:16]) != b"IHDR":
        raise _malformed("has no PNG header")
    columns, rows, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if bits == 16 and colour != 0:
        # Pillow would drop the low bits without a word.
        raise UnsupportedFrame(
            Reason.ENCODED_FORMAT_UNSUPPORTED,
            "16-bit PNG files must be grey, without alpha channel",
        )
    components = 3 if colour in _PNG_COLOUR else 1
    return StreamHeader(rows=rows, columns=columns, components=components, bits=bits)


def _jpeg_header(data: Buffer) -> StreamHeader:
    try:
        return jpeg_header(data)
    except MalformedFrame:
        raise _malformed("has no JPEG frame header") from None


def _refuse_costly(header: StreamHeader, settings: DecodeSettings) -> None:
    bits = 16 if header.bits > 8 else 8
    refuse_costly(
        PixelLayout(
            rows=header.rows,
            columns=header.columns,
            bits_allocated=bits * header.components,
            bits_stored=bits,
            is_signed=False,
        ),
        settings,
    )


def _grey(
    picture: PillowImage.Image, max_tint: float
) -> tuple[PillowImage.Image, float]:
    """Return the picture in grey and how far its channels were apart, in levels."""
    if picture.mode in ("1", "L", "I;16", "I") and not picture.has_transparency_data:
        return picture, 0.0
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise _coloured()
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema() != (255, 255):
            raise UnsupportedFrame(
                Reason.ENCODED_FORMAT_UNSUPPORTED,
                "the image has transparent pixels; save it without alpha channel",
            )
    picture = picture.convert("RGB")
    red, green, blue = picture.split()
    lightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    tint = ImageStat.Stat(ImageChops.difference(lightest, darkest)).mean[0]
    if tint > max_tint:
        raise _coloured()
    # ITU-R 601 luminance; equal channels come out unchanged.
    return picture.convert("L"), tint


def _stored(grey: PillowImage.Image) -> npt.NDArray[Any]:
    if grey.mode in ("I", "I;16"):
        return np.asarray(grey).astype(np.uint16)
    return np.asarray(grey.convert("L"))


def _turned(pixels: npt.NDArray[Any], turn: object) -> npt.NDArray[Any]:
    """Apply an EXIF orientation (CIPA DC-008 4.6.4); unknown values turn nothing."""
    match turn:
        case 2:
            return np.fliplr(pixels)
        case 3:
            return np.rot90(pixels, 2)
        case 4:
            return np.flipud(pixels)
        case 5:
            return pixels.T
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return np.rot90(pixels.T, 2)
        case 8:
            return np.rot90(pixels)
        case _:
            return pixels


def _coloured() -> UnsupportedFrame:
    return UnsupportedFrame(
        Reason.COLOUR_IMAGE, "the image has colours; send a grey radiograph"
    )


def _malformed(what: str) -> MalformedFrame:
    return MalformedFrame(
        Reason.MALFORMED_ENCODED_IMAGE, f"the image file {what}; save it again"
    )
