"""The outside of a DICOM file: preamble, File Meta Information, deflate.

PS3.10 section 7.1. Files without preamble and File Meta Information are refused:
guessing their transfer syntax could misread pixels.
"""

from __future__ import annotations

import re
import struct
import zlib

from spinert.runtime.decode.transfer_syntax import TRANSFER_SYNTAXES, TransferSyntax
from spinert.runtime.errors import MalformedFrame, Reason, UnsupportedFrame
from spinert.runtime.file_kind import FILE_HEAD_BYTES, FileKind, file_kind_of

__all__ = ["Inflater", "transfer_syntax_from_file"]

_TRANSFER_SYNTAX_UID = 0x0010
_LONG_VRS = (b"OB", b"UN")
"""The VRs with a 32-bit length that File Meta Information uses."""
_MAX_META_ELEMENTS = 100
_UID = re.compile(rb"[0-9.]{1,64}")


def transfer_syntax_from_file(data: memoryview) -> tuple[TransferSyntax, int]:
    """Return the transfer syntax of a file and where its data set starts.

    Raises:
        MalformedFrame: MALFORMED_DICOM, no Part 10 file.
        UnsupportedFrame: TRANSFER_SYNTAX_UNSUPPORTED.
    """
    if file_kind_of(data[:FILE_HEAD_BYTES]) is not FileKind.DICOM:
        raise _malformed("there is no DICM prefix after 128 bytes")
    uid, at = b"", FILE_HEAD_BYTES
    for _ in range(_MAX_META_ELEMENTS):
        number, start, end = _meta_element(data, at)
        if number is None:
            return _known(uid), at
        if number == _TRANSFER_SYNTAX_UID:
            uid = bytes(data[start:end]).rstrip(b"\0 ")
        at = end
    raise _malformed("the File Meta Information does not end")


def _meta_element(data: memoryview, at: int) -> tuple[int | None, int, int]:
    """Return (element number or None behind group 2, start, end) of a value."""
    if at + 8 > len(data):
        return None, at, at
    group, number, vr, length = struct.unpack_from("<HH2sH", data, at)
    if group != 2:
        return None, at, at
    start = at + 8
    if vr in _LONG_VRS:
        start += 4
        if start > len(data):
            raise _malformed("the File Meta Information is cut off")
        (length,) = struct.unpack_from("<I", data, at + 8)
    if length > len(data) - start:
        raise _malformed("the File Meta Information is cut off")
    return number, start, start + length


def _known(uid: bytes) -> TransferSyntax:
    if not _UID.fullmatch(uid):
        raise _malformed("the File Meta Information names no transfer syntax")
    syntax = TRANSFER_SYNTAXES.get(uid.decode())
    if syntax is None:
        raise UnsupportedFrame(
            Reason.TRANSFER_SYNTAX_UNSUPPORTED,
            f"transfer syntax {uid.decode()} is not supported; send the image "
            "uncompressed, or as RLE, JPEG, JPEG-LS or JPEG 2000",
        )
    return syntax


class Inflater:
    """Inflates a deflated data set in steps, PS3.5 section A.5.

    pydicom inflates without a bound: 1 MB becomes gigabytes before it is looked at.
    """

    def __init__(self, deflated: memoryview) -> None:
        """Prepare to inflate; nothing is inflated yet."""
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._rest: bytes | memoryview = deflated

    @property
    def has_more(self) -> bool:
        """Whether `read` could return more."""
        return not self._stream.eof and len(self._rest) > 0

    def read(self, n_bytes: int) -> bytes:
        """Inflate up to `n_bytes` more, from 1.

        Raises:
            MalformedFrame: MALFORMED_DICOM.
        """
        try:
            data = self._stream.decompress(self._rest, n_bytes)
        except zlib.error:
            raise _malformed("the deflated data are damaged") from None
        self._rest = self._stream.unconsumed_tail
        return data


def _malformed(what: str) -> MalformedFrame:
    return MalformedFrame(
        Reason.MALFORMED_DICOM, f"not a readable DICOM Part 10 file: {what}"
    )
