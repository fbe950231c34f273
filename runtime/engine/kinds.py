"""What frames take alike before they reach a network: format, codec, size."""

from __future__ import annotations

import re
from typing import Final

from spinert.runtime.decode.transfer_syntax import TRANSFER_SYNTAXES
from spinert.runtime.file_kind import FileKind, file_kind_of
from spinert.runtime.frame import (
    DicomFrame,
    EncodedFrame,
    FrameRequest,
    Payload,
    size_of,
)

__all__ = ["kind_of"]

_LOOKED_AT: Final = 1024
"""Bytes. File Meta Information begins at 132 and rarely takes more than 400."""
_SYNTAX: Final = re.compile(rb"\x02\x00\x10\x00UI..([0-9.]+)", re.DOTALL)
"""The element Transfer Syntax UID (0002,0010), PS3.10 section 7.1."""


def kind_of(request: FrameRequest) -> str:
    """Return format, codec and power of two of the bytes of a frame.

    There are a few hundred kinds, whatever clients send. A guess from the first
    bytes, for predictions only: nothing is parsed, and a file that lies is expected
    to take a wrong time. What lies in shared memory is not read before it has been
    admitted; its codec is unknown.
    """
    content = request.content
    name = type(content).__name__
    if isinstance(content, DicomFrame | EncodedFrame):
        name += _codec(content.data)
    return f"{name} {size_of(content.data).bit_length()}"


def _codec(payload: Payload) -> str:
    if not isinstance(payload, bytes | memoryview):
        return ""
    head = bytes(payload[:_LOOKED_AT])
    if file_kind_of(head) is FileKind.PNG:
        return " PNG"
    found = _SYNTAX.search(head)
    syntax = TRANSFER_SYNTAXES.get(found[1].decode()) if found else None
    return f" {syntax.codec.name}" if syntax else ""
