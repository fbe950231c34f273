"""Large bytes fields of protobuf messages, found where they lie.

Protobuf copies a bytes field twice on its way into Python: into the message and
out of it. Here it is found by scanning the few tags around it, and stays a view of
what was received; protobuf parses what is left. The scan is lenient, because every
byte that is not cut out is still judged by protobuf; and what is unusual goes
through protobuf whole, so its rules (last one wins, merging, unknown fields) hold
without being written twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spinert.runtime.frame import Buffer

__all__ = ["MIN_VIEW_BYTES", "Field", "UnusualMessageError", "fields_of", "rest_of"]

MIN_VIEW_BYTES = 256 * 1024
"""Of a message: below this two copies are cheaper than a scan, 5 to 20 us."""

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_MAX_FIELDS = 64
"""Of one message. More are for protobuf, which is not Python."""
_MAX_VARINT_BYTES = 5
_MAX_VALUE_BYTES = 10


class UnusualMessageError(Exception):
    """The bytes are for protobuf to judge."""


@dataclass(frozen=True, slots=True)
class Field:
    """Where a field lies in a message."""

    number: int
    is_bytes: bool
    """Has a length: bytes, text or a message."""
    start: int
    """Of the tag."""
    value: int
    """Of the value, behind the length if there is one."""
    end: int


def fields_of(message: Buffer, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message that lies from `start` to `end`.

    Raises:
        UnusualMessageError: These bytes are no fields, or too many.
    """
    position = start
    for _ in range(_MAX_FIELDS):
        if position == end:
            return
        field = _field(message, position, end)
        position = field.end
        yield field
    if position < end:
        raise UnusualMessageError


def rest_of(message: Buffer, start: int, end: int, cut: Iterable[Field]) -> bytes:
    """Return what lies from `start` to `end` outside the fields `cut`, in order."""
    rest = bytearray()
    for field in cut:
        rest += message[start : field.start]
        start = field.end
    rest += message[start:end]
    return bytes(rest)


def _field(message: Buffer, start: int, end: int) -> Field:
    tag, value = _varint(message, start, end)
    number, wire_type = tag >> 3, tag & 7
    if wire_type == _LENGTH_DELIMITED:
        length, value = _varint(message, value, end)
        after = value + length
    elif wire_type == _VARINT:
        after = _varint_end(message, value, end)
    elif wire_type in (_FIXED32, _FIXED64):
        after = value + (8 if wire_type == _FIXED64 else 4)
    else:
        raise UnusualMessageError
    if after > end:
        raise UnusualMessageError
    return Field(number, wire_type == _LENGTH_DELIMITED, start, value, after)


def _varint(message: Buffer, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        if position >= end:
            raise UnusualMessageError
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise UnusualMessageError


def _varint_end(message: Buffer, position: int, end: int) -> int:
    for i in range(position, min(end, position + _MAX_VALUE_BYTES)):
        if message[i] < 0x80:
            return i + 1
    raise UnusualMessageError
