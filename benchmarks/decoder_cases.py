"""Ways to write pixels, and decoders that could read each for the runtime."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from spinert.phantom.compression import compressed
from spinert.runtime.decode.codecs import words_from_codestream
from spinert.runtime.decode.gate import PixelLayout
from spinert.runtime.decode.part10 import Inflater
from spinert.runtime.decode.transfer_syntax import Codec

ROWS, COLUMNS, BITS = 2500, 2000, 12

Words = npt.NDArray[Any]
Decoder = Callable[[bytes], Words]


def _pillow(data: bytes) -> Words:
    # It moves twelve bits to the top of sixteen.
    return np.asarray(PillowImage.open(io.BytesIO(data))) >> (16 - BITS)


def _pillow_8(data: bytes) -> Words:
    return np.asarray(PillowImage.open(io.BytesIO(data)))


def _rle(data: bytes) -> Words:
    out = bytearray(2 * ROWS * COLUMNS)
    imagecodecs.dicomrle_decode(data, np.dtype("<u2"), out=out)
    return np.frombuffer(out, "<u2").reshape(ROWS, COLUMNS)


def _rle_encoded(pixels: Words) -> bytes:
    return compressed(pixels, BITS, "rle")


def _deflated(pixels: Words) -> bytes:
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(pixels.tobytes()) + squeeze.flush()


def _jpeg_lossless(pixels: Words) -> bytes:
    return bytes(
        imagecodecs.jpeg8_encode(
            pixels, lossless=True, predictor=1, bitspersample=_bits_of(pixels)
        )
    )


def _jpeg_lossy(pixels: Words) -> bytes:
    return bytes(
        imagecodecs.jpeg8_encode(pixels, level=95, bitspersample=_bits_of(pixels))
    )


def _jpeg_2000(pixels: Words) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels, codecformat="j2k", reversible=True, bitspersample=BITS
        )
    )


def _bits_of(pixels: Words) -> int:
    return 8 if pixels.itemsize == 1 else BITS


def _inflated(data: bytes, n_bytes: int) -> Words:
    inflated = Inflater(memoryview(data)).read(n_bytes)
    return np.frombuffer(inflated, "<u2").reshape(ROWS, COLUMNS)


def _libdeflate(data: bytes) -> Words:
    inflated = imagecodecs.deflate_decode(data, raw=True, out=2 * ROWS * COLUMNS)
    return np.frombuffer(inflated, "<u2").reshape(ROWS, COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to write pixels, and those that read it."""

    codec: Codec
    encode: Callable[[Words], bytes]
    others: Mapping[str, Decoder]
    """Those that could stand in for what the runtime calls."""
    bits: int = BITS
    is_lossy: bool = False

    def runtime(self, data: bytes) -> Words:
        """Decode as the runtime does."""
        layout = PixelLayout(
            rows=ROWS,
            columns=COLUMNS,
            bits_allocated=8 if self.bits == 8 else 16,
            bits_stored=self.bits,
            is_signed=False,
        )
        if self.codec is Codec.NATIVE:
            return _inflated(data, layout.n_bytes)
        return words_from_codestream(data, self.codec, layout)


_JPEG8 = {"imagecodecs.jpeg8": imagecodecs.jpeg8_decode}
CASES: Mapping[str, Case] = {
    "JPEG, 8 bits, lossy": Case(
        codec=Codec.JPEG,
        encode=_jpeg_lossy,
        others={**_JPEG8, "Pillow": _pillow_8},
        bits=8,
        is_lossy=True,
    ),
    "JPEG, 12 bits, lossy": Case(
        codec=Codec.JPEG, encode=_jpeg_lossy, others=_JPEG8, is_lossy=True
    ),
    "JPEG Lossless": Case(
        codec=Codec.JPEG,
        encode=_jpeg_lossless,
        others={
            **_JPEG8,
            "imagecodecs.ljpeg": imagecodecs.ljpeg_decode,
            "imagecodecs.jpegsof3": imagecodecs.jpegsof3_decode,
        },
    ),
    "JPEG-LS": Case(
        codec=Codec.JPEG_LS,
        encode=imagecodecs.jpegls_encode,
        others={"imagecodecs.jpegls": imagecodecs.jpegls_decode},
    ),
    "JPEG 2000": Case(
        codec=Codec.JPEG_2000,
        encode=_jpeg_2000,
        others={
            "imagecodecs.jpeg2k": imagecodecs.jpeg2k_decode,
            "imagecodecs.jpeg2k, 2 threads": partial(
                imagecodecs.jpeg2k_decode, numthreads=2
            ),
            "Pillow": _pillow,
        },
    ),
    "HTJ2K": Case(
        codec=Codec.HTJ2K,
        encode=imagecodecs.htj2k_encode,
        others={
            "imagecodecs.htj2k": imagecodecs.htj2k_decode,
            "imagecodecs.jpeg2k": imagecodecs.jpeg2k_decode,
        },
    ),
    "RLE": Case(
        codec=Codec.RLE, encode=_rle_encoded, others={"imagecodecs.dicomrle": _rle}
    ),
    "deflated": Case(
        codec=Codec.NATIVE,
        encode=_deflated,
        others={"imagecodecs.deflate": _libdeflate},
    ),
}
"""A case for each way that SpineRT reads, by what it is called."""
