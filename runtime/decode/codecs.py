"""Decoders of pixel data. Runs in decode workers only.

imagecodecs throughout: per transfer syntax the fastest of the permissively licensed
decoders that were compared on a 3000 x 2500, 12-bit radiograph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from spinert.runtime.decode.codestream import (
    StreamHeader,
    jpeg_2000_codestream,
    jpeg_2000_header,
    jpeg_header,
)
from spinert.runtime.decode.gate import PixelLayout, refuse_implausible_compression
from spinert.runtime.decode.transfer_syntax import Codec
from spinert.runtime.errors import MalformedFrame, Reason, UnsupportedFrame
from spinert.runtime.frame import Buffer

__all__ = ["words_from_codestream"]

Words = npt.NDArray[Any]
Stream = Any
"""A Buffer: imagecodecs takes every kind, but its annotations name only some."""


def words_from_codestream(data: Buffer, codec: Codec, layout: PixelLayout) -> Words:
    """Decompress one frame.

    Args:
        data: The joined fragments.
        codec: Any but NATIVE.
        layout: What the attributes say the pixels are.

    Returns:
        uint8 or uint16 [rows, columns], C-contiguous; bits above Bits Stored as the
        decoder leaves them.

    Raises:
        FrameTooCostly: DECOMPRESSION_BOMB, too few bytes for the dimensions.
        UnsupportedFrame: COLOUR_IMAGE, more than one component.
        MalformedFrame: The stream contradicts the attributes or is damaged.
    """
    refuse_implausible_compression(len(data), layout)
    words = _DECODERS[codec](data, layout)
    if words.shape != (layout.rows, layout.columns) or words.dtype.kind not in "iu":
        raise _contradiction()
    if words.itemsize > 2:
        raise _contradiction()
    unsigned = words.view(np.dtype(f"u{words.itemsize}"))
    if layout.is_signed and words.dtype == np.int8:
        # Sign-extended here, where the sign bit is known to be the eighth.
        unsigned = words.astype(np.int16).view(np.uint16)
    elif words.itemsize == 1 and layout.bits_stored > 8:
        unsigned = unsigned.astype(np.uint16)
    return np.ascontiguousarray(unsigned)


def _refuse_contradiction(header: StreamHeader, layout: PixelLayout) -> None:
    if header.components != 1:
        raise UnsupportedFrame(
            Reason.COLOUR_IMAGE, "the compressed image has colours; send a grey image"
        )
    same_size = (header.rows, header.columns) == (layout.rows, layout.columns)
    if not same_size or header.bits > layout.bits_allocated:
        raise _contradiction()


def _contradiction() -> MalformedFrame:
    return MalformedFrame(
        Reason.MALFORMED_DICOM,
        "the compressed pixels differ in size or depth from what the attributes "
        "(Rows, Columns, Bits Allocated) say; export the file again",
    )


def _rle(data: Stream, layout: PixelLayout) -> Words:
    # The output is bounded by the buffer given; PS3.5 annex G.
    buffer = bytearray(layout.n_bytes)
    word = np.dtype(f"<u{layout.bits_allocated // 8}")
    decoded = imagecodecs.dicomrle_decode(data, word, out=buffer)
    if len(decoded) != layout.n_bytes:
        raise MalformedFrame(
            Reason.PIXEL_DATA_LENGTH, "the run-length encoded pixels are incomplete"
        )
    return np.frombuffer(buffer, word).reshape(layout.rows, layout.columns)


def _jpeg(data: Stream, layout: PixelLayout) -> Words:
    # libjpeg-turbo 3 reads baseline, extended (12 bits) and lossless (to 16 bits).
    _refuse_contradiction(jpeg_header(data), layout)
    words: Words = imagecodecs.jpeg8_decode(data)
    return words


def _jpeg_ls(data: Stream, layout: PixelLayout) -> Words:
    _refuse_contradiction(jpeg_header(data), layout)
    words: Words = imagecodecs.jpegls_decode(data)
    return words


def _jpeg_2000(data: Stream, layout: PixelLayout) -> Words:
    stream: Stream = jpeg_2000_codestream(data)
    _refuse_contradiction(jpeg_2000_header(stream), layout)
    words: Words = imagecodecs.jpeg2k_decode(stream)
    return words


def _htj2k(data: Stream, layout: PixelLayout) -> Words:
    stream: Stream = jpeg_2000_codestream(data)
    _refuse_contradiction(jpeg_2000_header(stream), layout)
    words: Words = imagecodecs.htj2k_decode(stream)
    return words


_DECODERS: Mapping[Codec, Callable[[Stream, PixelLayout], Words]] = MappingProxyType(
    {
        Codec.RLE: _rle,
        Codec.JPEG: _jpeg,
        Codec.JPEG_LS: _jpeg_ls,
        Codec.JPEG_2000: _jpeg_2000,
        Codec.HTJ2K: _htj2k,
    }
)
