"""Compressed pixels: their bytes, and what their headers claim.

The headers are read before a decoder is trusted with them: a decoder allocates
what the codestream says, not what Rows and Columns say.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from spinert.runtime.decode.scan import Element
from spinert.runtime.errors import MalformedFrame, Reason
from spinert.runtime.frame import Buffer

__all__ = [
    "StreamHeader",
    "codestream_from_fragments",
    "jpeg_2000_codestream",
    "jpeg_2000_header",
    "jpeg_header",
]

_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_MAX_FRAGMENTS = 10_000
_MAX_TILES = 4096
"""Tiles of 128 pixels cover the largest image; decoders pay for each tile up front."""
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Frame headers: ITU-T T.81 table B.1, and SOF55 of T.87 (JPEG-LS)."""
_STANDALONE = frozenset(range(0xD0, 0xD9)) | {0x01}
_J2K_START = b"\xff\x4f\xff\x51"


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamHeader:
    """What a codestream says it holds."""

    rows: int
    columns: int
    components: int
    bits: int


def codestream_from_fragments(data: memoryview, pixels: Element) -> Buffer:
    """Join the fragments of one encapsulated frame, PS3.5 annex A.4.

    The offset table is skipped unread: with a single frame it tells nothing, and
    what it says may be a lie.

    Raises:
        MalformedFrame: MALFORMED_DICOM, or PIXEL_DATA_LENGTH if the file ends early.
    """
    fragments: list[memoryview] = []
    at = pixels.start
    for _ in range(_MAX_FRAGMENTS):
        if at + 8 > len(data):
            raise _truncated()
        group, number, length = struct.unpack_from("<HHI", data, at)
        at += 8
        tag = group << 16 | number
        if tag == _SEQUENCE_END:
            return _joined(fragments[1:])
        if tag != _ITEM:
            raise _malformed("the pixel data are not made of fragments")
        fragments.append(data[at : at + length])
        at += length
    raise _malformed(f"the pixel data have more than {_MAX_FRAGMENTS} fragments")


def _joined(fragments: list[memoryview]) -> Buffer:
    if not fragments:
        raise MalformedFrame(
            Reason.PIXEL_DATA_MISSING, "the DICOM file has no fragment of pixel data"
        )
    return fragments[0] if len(fragments) == 1 else b"".join(fragments)


def jpeg_header(data: Buffer) -> StreamHeader:
    """Read the first frame header of a JPEG or JPEG-LS stream, ITU-T T.81 B.2.2.

    Raises:
        MalformedFrame: MALFORMED_DICOM.
    """
    at = 2 if bytes(data[:2]) == b"\xff\xd8" else len(data)
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _STANDALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _SOF:
            bits, rows, columns, components = struct.unpack_from(">BHHB", data, at + 4)
            return StreamHeader(
                rows=rows, columns=columns, components=components, bits=bits
            )
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise _malformed("the compressed pixels have no JPEG frame header")


def jpeg_2000_codestream(data: Buffer) -> Buffer:
    """Return the bare codestream; some writers wrongly add the boxes of a JP2 file.

    Raises:
        MalformedFrame: MALFORMED_DICOM.
    """
    start = bytes(data[:4096]).find(_J2K_START)
    if start < 0:
        raise _malformed("the compressed pixels are not a JPEG 2000 codestream")
    return data[start:]


def jpeg_2000_header(data: Buffer) -> StreamHeader:
    """Read the SIZ marker of a bare codestream, ITU-T T.800 A.5.1.

    Raises:
        MalformedFrame: MALFORMED_DICOM, also for more tiles than any image needs.
    """
    if len(data) < 43:
        raise _malformed("the JPEG 2000 header is cut off")
    x, y, x0, y0, tile_x, tile_y, tile_x0, tile_y0, components, bits = (
        struct.unpack_from(">8IHB", data, 8)
    )
    n_tiles = -(-(x - tile_x0) // max(1, tile_x)) * -(-(y - tile_y0) // max(1, tile_y))
    if n_tiles > _MAX_TILES:
        raise _malformed(f"the JPEG 2000 image has more than {_MAX_TILES} tiles")
    return StreamHeader(
        rows=y - y0, columns=x - x0, components=components, bits=(bits & 0x7F) + 1
    )


def _truncated() -> MalformedFrame:
    return MalformedFrame(
        Reason.PIXEL_DATA_LENGTH,
        "the file ends inside its compressed pixel data; it may be truncated",
    )


def _malformed(what: str) -> MalformedFrame:
    return MalformedFrame(Reason.MALFORMED_DICOM, f"{what}; export the file again")
