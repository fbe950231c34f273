"""Values of DICOM attributes, each of the type and range the runtime relies on.

pydicom converts; what it cannot convert becomes a typed error here, or counts as
absent where the attribute is only of help (spacing, body part, study).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from spinert.runtime.decode.scan import Element
from spinert.runtime.errors import MalformedFrame, Reason

__all__ = [
    "dataset_from_elements",
    "integer",
    "malformed",
    "number",
    "number_pair",
    "optional_text",
    "tags",
    "text",
]

_MAX_VALUE_BYTES = 2**18
"""The longest value of use is a lookup table of 65,536 entries."""


def tags(*keywords: str) -> frozenset[int]:
    """Return the tags, 0xGGGGEEEE, of attribute keywords of PS3.6."""
    found = {tag_for_keyword(keyword) for keyword in keywords}
    return frozenset(tag for tag in found if tag is not None)


def dataset_from_elements(data: memoryview, elements: Mapping[int, Element]) -> Dataset:
    """Hand the values of `elements` to pydicom, which converts them when asked for.

    Raises:
        MalformedFrame: MALFORMED_DICOM, a value is absurdly long.
    """
    dataset = Dataset()
    for tag, element in elements.items():
        if element.length > _MAX_VALUE_BYTES:
            raise malformed(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is too long")
        dataset[tag] = _raw(tag, element, data)
    return dataset


def _raw(tag: int, element: Element, data: memoryview) -> RawDataElement:
    vr = None if element.encoding.is_implicit else (element.vr or b"").decode()
    return RawDataElement(
        tag=Tag(tag),
        VR=vr,
        length=element.length,
        value=bytes(data[element.start : element.start + element.length]),
        value_tell=0,
        is_implicit_VR=element.encoding.is_implicit,
        is_little_endian=element.encoding.is_little_endian,
    )


def _value(dataset: Dataset, keyword: str) -> Any:
    """Return the value pydicom makes of an attribute; None if absent or empty."""
    try:
        value = dataset.get(keyword)
    except MemoryError:
        raise
    except Exception:
        # Damaged values raise a dozen exception classes in pydicom.
        raise malformed(f"{keyword} cannot be read") from None
    return None if value is None or value == "" else value


def _first(value: Any) -> Any:
    """Return the first of several values."""
    is_several = not isinstance(value, (str, bytes)) and hasattr(value, "__getitem__")
    return value[0] if is_several and len(value) else value


def integer(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """Return a single whole number, or `default` where it is absent.

    Raises:
        MalformedFrame: MALFORMED_DICOM, also if it is absent without default.
    """
    value = _value(dataset, keyword)
    if value is None and default is not None:
        return default
    if not isinstance(value, int):
        raise malformed(f"{keyword} is missing or not a single whole number")
    return int(value)


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first of the numbers, or None where there is none.

    Raises:
        MalformedFrame: MALFORMED_DICOM, not a finite number.
    """
    value = _first(_value(dataset, keyword))
    if value is None:
        return None
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise malformed(f"{keyword} is not a number")
    return float(value)


def number_pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Return two finite positive numbers, or None where there is nothing like it."""
    try:
        first, second = (float(value) for value in _value(dataset, keyword))
    except (MalformedFrame, TypeError, ValueError):
        return None
    fine = all(math.isfinite(value) and value > 0 for value in (first, second))
    return (first, second) if fine else None


def text(dataset: Dataset, keyword: str) -> str:
    """Return the first value, stripped and in upper case; empty where absent.

    Raises:
        MalformedFrame: MALFORMED_DICOM, not text.
    """
    value = _first(_value(dataset, keyword))
    if value is None:
        return ""
    if not isinstance(value, str):
        raise malformed(f"{keyword} is not text")
    return value.strip("\0 ").upper()


def optional_text(dataset: Dataset, keyword: str) -> str:
    """Return `text`, or nothing where it cannot be read."""
    try:
        return text(dataset, keyword)
    except MalformedFrame:
        return ""


def malformed(what: str) -> MalformedFrame:
    """Return the error for a value that makes no sense."""
    return MalformedFrame(
        Reason.MALFORMED_DICOM, f"the DICOM attribute {what}; export the file again"
    )
