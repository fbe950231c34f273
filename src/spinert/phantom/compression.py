"""Lossless compression of stored values into the streams that DICOM knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from spinert.phantom.errors import CompressionError

__all__ = ["COMPRESSIONS", "Compression", "compressed"]

Pixels = NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class Compression:
    """One way to store the same pixels in fewer bytes."""

    transfer_syntax: str
    """UID of PS3.6 annex A."""
    encode: Callable[[Pixels, int], bytes]
    """Takes stored values (rows, columns) and Bits Stored."""


def compressed(pixels: Pixels, bits_stored: int, how: str) -> bytes:
    """Return stored values (rows, columns) as one compressed stream.

    Raises:
        CompressionError: `how` is not in COMPRESSIONS, or its package is missing.
    """
    if how not in COMPRESSIONS:
        raise CompressionError(f"{how!r} is not one of {', '.join(COMPRESSIONS)}")
    return COMPRESSIONS[how].encode(pixels, bits_stored)


def _codecs() -> Any:
    try:
        import imagecodecs
    except ModuleNotFoundError:
        raise CompressionError(
            "this compression needs the package imagecodecs: pip install "
            "'spinert[serve]', or choose rle or none"
        ) from None
    return imagecodecs


def _jpeg_lossless(pixels: Pixels, bits_stored: int) -> bytes:
    """Process 14 with selection value 1 (PS3.5 section 8.2.1)."""
    return bytes(_codecs().ljpeg_encode(pixels, bitspersample=bits_stored))


def _jpeg_ls(pixels: Pixels, _: int) -> bytes:
    # Of noise, the stream is longer than the pixels.
    room_bytes = 2 * pixels.nbytes + 1024
    return bytes(_codecs().jpegls_encode(pixels, out=room_bytes))


def _jpeg_2000(pixels: Pixels, bits_stored: int) -> bytes:
    """Return a bare codestream: DICOM has no JP2 boxes (PS3.5 section A.4.4)."""
    return bytes(
        _codecs().jpeg2k_encode(
            pixels, reversible=True, codecformat="j2k", bitspersample=bits_stored
        )
    )


def _rle(pixels: Pixels, bits_stored: int) -> bytes:
    rows, columns = pixels.shape
    return RLELosslessEncoder.encode(
        pixels,
        encoding_plugin="pydicom",
        rows=rows,
        columns=columns,
        number_of_frames=1,
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=bits_stored,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
    )


COMPRESSIONS: Final[Mapping[str, Compression]] = MappingProxyType(
    {
        "jpeg-lossless": Compression(
            transfer_syntax=JPEGLosslessSV1, encode=_jpeg_lossless
        ),
        "jpeg-ls": Compression(transfer_syntax=JPEGLSLossless, encode=_jpeg_ls),
        "j2k": Compression(transfer_syntax=JPEG2000Lossless, encode=_jpeg_2000),
        "rle": Compression(transfer_syntax=RLELossless, encode=_rle),
    }
)
"""By the name that `spinert phantom --compress` takes."""
