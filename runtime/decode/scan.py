"""Find the elements of a DICOM data set without interpreting them.

pydicom is only given the values of the few elements the runtime needs. All others
are stepped over here, in bounded time and without recursion, so sequences nested
100,000 deep, floods of elements and lengths that lie never reach it, and the
patient's name is never even read. Encoding rules: PS3.5 section 7.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from spinert.runtime.errors import FrameTooCostly, MalformedFrame, Reason

__all__ = [
    "EXPLICIT_BIG",
    "EXPLICIT_LITTLE",
    "IMPLICIT_LITTLE",
    "PIXEL_DATA",
    "UNDEFINED",
    "Element",
    "Encoding",
    "Limits",
    "elements_of_data_set",
    "elements_of_first_item",
]

PIXEL_DATA = 0x7FE00010
UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SHORT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)
"""Explicit VRs with a 16-bit length; all others have 32 bits, PS3.5 section 7.1.2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """How elements are written, PS3.5 section 7.1 and 7.3."""

    is_implicit: bool
    is_little_endian: bool


EXPLICIT_LITTLE = Encoding(is_implicit=False, is_little_endian=True)
EXPLICIT_BIG = Encoding(is_implicit=False, is_little_endian=False)
IMPLICIT_LITTLE = Encoding(is_implicit=True, is_little_endian=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Element:
    """Where a value lies in the scanned data.

    Only Pixel Data may be UNDEFINED in `length` (encapsulated) or reach beyond the
    end of the data (of a part of the file, or truncated).
    """

    vr: bytes | None
    """None in implicit VR."""
    start: int
    length: int
    encoding: Encoding
    """Of the value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much structure one file may have."""

    elements: int
    nesting: int


def elements_of_data_set(
    data: memoryview, encoding: Encoding, wanted: frozenset[int], limits: Limits
) -> dict[int, Element]:
    """Return the elements in `wanted`, up to and with Pixel Data, by tag 0xGGGGEEEE.

    Raises:
        MalformedFrame: MALFORMED_DICOM.
        FrameTooCostly: NESTING_TOO_DEEP or TOO_MANY_ELEMENTS.
    """
    return _Scanner(data, encoding, limits).elements(wanted)


def elements_of_first_item(
    data: memoryview, sequence: Element, wanted: frozenset[int], limits: Limits
) -> dict[int, Element]:
    """Return the elements in `wanted` of the first item; none if there is no item.

    The offsets of the elements are those of `data`.

    Raises:
        MalformedFrame: MALFORMED_DICOM.
        FrameTooCostly: NESTING_TOO_DEEP or TOO_MANY_ELEMENTS.
    """
    end = sequence.start + sequence.length
    scanner = _Scanner(data[:end], sequence.encoding, limits, sequence.start)
    return scanner.elements_of_item(wanted) if sequence.length else {}


class _Scanner:
    """Walks over one data set once. Values of known length are skipped whole."""

    def __init__(
        self, data: memoryview, encoding: Encoding, limits: Limits, start: int = 0
    ) -> None:
        self._data = data
        self._encoding = encoding
        self._limits = limits
        self._at = start
        self._count = 0

    def elements_of_item(self, wanted: frozenset[int]) -> dict[int, Element]:
        tag, _, length = self._header(self._encoding)
        if tag != _ITEM:
            raise _malformed("a sequence does not start with an item")
        if length != UNDEFINED:
            self._data = self._data[: self._at + length]
        return self.elements(wanted)

    def elements(self, wanted: frozenset[int]) -> dict[int, Element]:
        found: dict[int, Element] = {}
        while self._at < len(self._data):
            tag, vr, length = self._header(self._encoding)
            if tag == _ITEM_END:
                break
            if tag >> 16 == 0xFFFE:
                raise _malformed("an item lies outside a sequence")
            start, encoding = self._at, _encoding_of_value(vr, self._encoding)
            if tag == PIXEL_DATA:
                found[tag] = Element(
                    vr=vr, start=start, length=length, encoding=encoding
                )
                break
            value_end = self._skip(length, encoding)
            if tag in wanted:
                if tag in found:
                    raise _malformed("an element that must be unique comes twice")
                found[tag] = Element(
                    vr=vr, start=start, length=value_end - start, encoding=encoding
                )
        return found

    def _header(self, encoding: Encoding) -> tuple[int, bytes | None, int]:
        """Read tag, VR (None where there is none) and length; move to the value."""
        at = self._at
        self._advance(8)
        self._count += 1
        if self._count > self._limits.elements:
            raise FrameTooCostly(
                Reason.TOO_MANY_ELEMENTS,
                f"the file has more than {self._limits.elements} data elements "
                "(decode.max_elements)",
            )
        order = "<" if encoding.is_little_endian else ">"
        group, number = struct.unpack_from(order + "HH", self._data, at)
        tag = group << 16 | number
        if encoding.is_implicit or group == 0xFFFE:
            return tag, None, struct.unpack_from(order + "I", self._data, at + 4)[0]
        vr = bytes(self._data[at + 4 : at + 6])
        if vr in _SHORT_VRS:
            return tag, vr, struct.unpack_from(order + "H", self._data, at + 6)[0]
        if not (vr.isalpha() and vr.isupper()):
            raise _malformed("an element has no value representation")
        self._advance(4)
        return tag, vr, struct.unpack_from(order + "I", self._data, at + 8)[0]

    def _skip(self, length: int, encoding: Encoding) -> int:
        """Move behind a value; return where it ends, delimiters excluded."""
        if length != UNDEFINED:
            self._advance(length)
            return self._at
        # Open sequences and items of undefined length, outermost first: even places
        # are sequences, odd ones items.
        levels = [encoding]
        while levels:
            in_item = len(levels) % 2 == 0
            tag, vr, length = self._header(levels[-1])
            if tag == (_ITEM_END if in_item else _SEQUENCE_END):
                levels.pop()
            elif in_item == (tag >> 16 == 0xFFFE) or (not in_item and tag != _ITEM):
                raise _malformed("a sequence is not made of items")
            elif length == UNDEFINED:
                levels.append(_encoding_of_value(vr, levels[-1]))
                self._refuse_depth(len(levels))
            else:
                self._advance(length)
        return self._at - 8

    def _advance(self, n_bytes: int) -> None:
        if n_bytes > len(self._data) - self._at:
            raise _malformed("the file ends inside an element")
        self._at += n_bytes

    def _refuse_depth(self, n_levels: int) -> None:
        if n_levels > 2 * self._limits.nesting:
            raise FrameTooCostly(
                Reason.NESTING_TOO_DEEP,
                f"sequences are nested more than {self._limits.nesting} deep "
                "(decode.max_nesting)",
            )


def _encoding_of_value(vr: bytes | None, encoding: Encoding) -> Encoding:
    # What was once written as unknown stays implicit little endian, PS3.5 6.2.2.
    return IMPLICIT_LITTLE if vr == b"UN" else encoding


def _malformed(what: str) -> MalformedFrame:
    return MalformedFrame(
        Reason.MALFORMED_DICOM, f"{what}; the DICOM file is damaged, export it again"
    )
