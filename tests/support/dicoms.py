"""DICOM files made byte by byte: honest ones, lying ones and bombs."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR = "1.2.840.10008.1.2.4.81"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_2000_LOSSY = "1.2.840.10008.1.2.4.91"
HTJ2K = "1.2.840.10008.1.2.4.201"

CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
PIXEL_DATA = 0x7FE00010
UNDEFINED = 0xFFFFFFFF
_LONG = ("OB", "OW", "SQ", "UN", "UT")
_ENDS = {"item": 0xFFFEE00D, "sequence": 0xFFFEE0DD}

Value = tuple[str, object]


def tag_bytes(tag: int, order: str = "<") -> bytes:
    return struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)


def value_bytes(vr: str, value: object, order: str = "<") -> bytes:
    if isinstance(value, bytes):
        raw = value
    elif vr in ("US", "SS"):
        numbers = value if isinstance(value, (list, tuple)) else [value]
        raw = struct.pack(
            f"{order}{len(numbers)}{'H' if vr == 'US' else 'h'}", *numbers
        )
    else:
        raw = str(value).encode()
    return raw + (b"\0" if vr in ("UI", "OB") else b" ") * (len(raw) % 2)


def element(tag: int, vr: str, value: object, syntax: str = EXPLICIT) -> bytes:
    """Return one element with a defined length."""
    order = ">" if syntax == BIG_ENDIAN else "<"
    raw = value_bytes(vr, value, order)
    return header(tag, vr, len(raw), syntax) + raw


def header(tag: int, vr: str, length: int, syntax: str = EXPLICIT) -> bytes:
    order = ">" if syntax == BIG_ENDIAN else "<"
    if syntax == IMPLICIT:
        return tag_bytes(tag, order) + struct.pack(order + "I", length)
    if vr in _LONG:
        return tag_bytes(tag, order) + vr.encode() + struct.pack(order + "xxI", length)
    return tag_bytes(tag, order) + vr.encode() + struct.pack(order + "H", length)


def item(content: bytes, syntax: str = EXPLICIT) -> bytes:
    order = ">" if syntax == BIG_ENDIAN else "<"
    return (
        tag_bytes(0xFFFEE000, order) + struct.pack(order + "I", len(content)) + content
    )


def fragments(*streams: bytes, table: bytes = b"") -> bytes:
    """Return the value of encapsulated pixel data."""
    padded = [s + b"\0" * (len(s) % 2) for s in streams]
    joined = b"".join(item(part) for part in (table, *padded))
    return joined + tag_bytes(_ENDS["sequence"]) + bytes(4)


def file_meta(syntax: str) -> bytes:
    """Return what comes before the data set."""
    meta = element(0x00020002, "UI", CR_STORAGE) + element(0x00020010, "UI", syntax)
    length = element(0x00020000, "UL", struct.pack("<I", len(meta)))
    return bytes(128) + b"DICM" + length + meta


def part10(syntax: str, body: bytes) -> bytes:
    """Return a file: preamble, File Meta Information, `body`."""
    if syntax == DEFLATED:
        deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = deflate.compress(body) + deflate.flush()
    return file_meta(syntax) + body


def attributes(rows: int, columns: int, bits: int, allocated: int) -> dict[int, Value]:
    """Return the attributes of an ordinary CR image, as tag -> (VR, value)."""
    return {
        0x00080016: ("UI", CR_STORAGE),
        0x00080060: ("CS", "CR"),
        0x00100010: ("PN", "CANARY^PATIENT"),
        0x0020000D: ("UI", "1.2.3.4"),
        0x00280002: ("US", 1),
        0x00280004: ("CS", "MONOCHROME2"),
        0x00280010: ("US", rows),
        0x00280011: ("US", columns),
        0x00280030: ("DS", "0.2\\0.2"),
        0x00280100: ("US", allocated),
        0x00280101: ("US", bits),
        0x00280102: ("US", bits - 1),
        0x00280103: ("US", 0),
    }


def dataset(values: dict[int, Value | None], syntax: str) -> bytes:
    return b"".join(
        element(tag, *value, syntax) for tag, value in sorted(values.items()) if value
    )


def radiograph(
    pixels: np.ndarray,
    *,
    syntax: str = EXPLICIT,
    bits: int | None = None,
    stream: bytes | None = None,
    changes: dict[int, Value | None] | None = None,
) -> bytes:
    """Return a CR file of `pixels`; `stream` holds them compressed.

    `changes` replaces attributes; None removes one.
    """
    allocated = 8 * pixels.itemsize
    values = attributes(*pixels.shape, bits or allocated, allocated)
    if pixels.dtype.kind == "i":
        values[0x00280103] = ("US", 1)
    body = dataset({**values, **(changes or {})}, syntax)
    if stream is None:
        order = ">" if syntax == BIG_ENDIAN else "<"
        raw = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        vr = "OB" if allocated == 8 else "OW"
        return part10(syntax, body + element(PIXEL_DATA, vr, raw, syntax))
    return part10(syntax, body + header(PIXEL_DATA, "OB", UNDEFINED) + stream)


def phantom(rows: int = 96, columns: int = 80, bits: int = 12) -> np.ndarray:
    """Return a smooth image with texture that uses the range of `bits`."""
    y, x = np.mgrid[:rows, :columns]
    values = (x * 37 + y * 53 + (x * y) % 23 * 11) % (1 << bits)
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


def rle_lie(rows: int, columns: int, segment: bytes) -> bytes:
    """Return a file whose run-length segments do not fill its dimensions."""
    offsets = (2, 64, 64 + len(segment), *[0] * 13)
    stream = fragments(struct.pack("<16I", *offsets) + segment + segment)
    body = dataset(attributes(rows, columns, 16, 16), RLE)
    return part10(RLE, body + header(PIXEL_DATA, "OB", UNDEFINED) + stream)


def nested(depth: int, *, in_lut: bool = False) -> bytes:
    """Return a file with `depth` sequences inside each other."""
    tag = 0x00283010 if in_lut else 0x00081140
    opened = header(tag, "SQ", UNDEFINED) + tag_bytes(0xFFFEE000) + b"\xff" * 4
    closed = b"".join(tag_bytes(end) + bytes(4) for end in _ENDS.values())
    plain = attributes(96, 80, 16, 16)
    before = dataset({t: v for t, v in plain.items() if t < tag}, EXPLICIT)
    after = dataset({t: v for t, v in plain.items() if t > tag}, EXPLICIT)
    pixels = element(PIXEL_DATA, "OW", bytes(96 * 80 * 2))
    return part10(EXPLICIT, before + opened * depth + closed * depth + after + pixels)


def deflate_bomb(n_mib: int) -> bytes:
    """Return a deflated file that is nothing but `n_mib` of zeros."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(header(PIXEL_DATA, "OB", n_mib << 20))
    body += b"".join(deflate.compress(bytes(1 << 20)) for _ in range(n_mib))
    return file_meta(DEFLATED) + body + deflate.flush()


def private_flood(n_elements: int) -> bytes:
    flood = element(0x00091001, "US", 1) * n_elements
    return part10(EXPLICIT, flood + element(PIXEL_DATA, "OW", bytes(96 * 80 * 2)))


def bombs() -> dict[str, bytes]:
    """Return small files that exhaust a decoder which believes them, by name."""
    run = b"\x81\x00"
    lie = dataset(attributes(65535, 65535, 16, 16), EXPLICIT)
    return {
        "rle_948_bytes": rle_lie(65535, 65535, run * 100),
        "rle_short": rle_lie(8192, 8192, run * 100),
        "rle_overflow": rle_lie(8192, 8192, run * (8192 * 8192 // 128 + 64)),
        "deflate_pixels": deflate_bomb(300),
        "deflate_head": part10(
            DEFLATED, element(0x00091001, "UN", bytes(64 << 20), DEFLATED)
        ),
        "nesting_50": nested(50),
        "nesting_5000": nested(5_000),
        "nesting_100000": nested(100_000),
        "nesting_100000_in_a_lut": nested(100_000, in_lut=True),
        "element_flood": private_flood(25_000),
        "native_lie": part10(EXPLICIT, lie + element(PIXEL_DATA, "OW", bytes(100))),
        "offset_table_lie": part10(
            RLE,
            dataset(attributes(96, 80, 16, 16), RLE)
            + header(PIXEL_DATA, "OB", UNDEFINED)
            + tag_bytes(0xFFFEE000)
            + struct.pack("<I", 0xFFFFFFF0),
        ),
        "many_frames": radiograph(phantom(), changes={0x00280008: ("IS", 2**31)}),
    }


_TOKENS = (
    b"\xff\xff\xff\xff",
    bytes(4),
    tag_bytes(0xFFFEE000),
    *(tag_bytes(end) for end in _ENDS.values()),
    b"SQ",
    b"OB",
    b"UN",
    tag_bytes(0x00280010),
    tag_bytes(0x00280011),
    tag_bytes(PIXEL_DATA),
    b"\xff\xff",
    RLE.encode(),
    DEFLATED.encode(),
    JPEG_2000.encode(),
)


def mutated(data: bytes, seed: int) -> bytes:
    """Return `data` with 1 to 16 seeded mutations, most near its header."""
    rng = random.Random(seed)
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8, 16))):
        _mutate(content, rng)
    return bytes(content)


def _mutate(content: bytearray, rng: random.Random) -> None:
    near = rng.random() < 0.8
    end = min(3000, len(content)) if near else len(content)
    at = rng.randrange(min(128, end - 1) if near else 0, end)
    token = rng.choice(_TOKENS)
    kind = rng.choices(range(7), (35, 15, 25, 8, 7, 5, 5))[0]
    if kind == 0:
        content[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        content[at] = rng.randrange(256)
    elif kind == 2:
        content[at : at + len(token)] = token
    elif kind == 3:
        content[at:at] = token
    elif kind == 4:
        del content[at : at + rng.randrange(1, 64)]
    elif kind == 5:
        del content[max(at, 200) :]
    else:
        block = content[at : at + rng.randrange(1, 64)]
        content[at:at] = block
