"""Find external data in an ONNX file without the onnx package.

A bundle's networks are single self-contained files: tensors in other files would
escape the manifest's hashes, and their paths could leave the bundle. This walks the
protobuf wire format (protobuf.dev/programming-guides/encoding) along the fields of
onnx.proto3 in which a TensorProto can sit; everything else is skipped unread.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["refuse_external_data"]

_MAX_DEPTH: Final = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZE: Final = MappingProxyType({_FIXED64: 8, _FIXED32: 4})

# Message -> field number -> message in that field (onnx.proto3, IR version 13).
_FIELDS: Final[Mapping[str, Mapping[int, str]]] = MappingProxyType(
    {
        "Model": {7: "Graph", 20: "Training", 25: "Function"},
        "Training": {1: "Graph", 2: "Graph"},
        "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
        "Function": {7: "Node", 11: "Attribute"},
        "Node": {5: "Attribute"},
        "Attribute": {
            5: "Tensor",
            6: "Graph",
            10: "Tensor",
            11: "Graph",
            22: "SparseTensor",
            23: "SparseTensor",
        },
        "SparseTensor": {1: "Tensor", 2: "Tensor"},
    }
)
_TENSOR_EXTERNAL_DATA: Final = 13
_TENSOR_DATA_LOCATION: Final = 14


def refuse_external_data(onnx: Path) -> None:
    """Do nothing if `onnx` is one self-contained model.

    Raises:
        BackendUnavailable: It keeps tensors elsewhere, cannot be read, or is not an
            ONNX file.
    """
    try:
        with onnx.open("rb") as file, _mapped(file.fileno()) as data:
            external = _has_external(data, 0, len(data), "Model", _MAX_DEPTH)
    except (OSError, ValueError, IndexError) as error:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{onnx.name} is not a readable ONNX file; export the bundle again",
        ) from error
    if external:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{onnx.name} keeps tensors in other files; export it as one file",
        )


def _mapped(descriptor: int) -> mmap.mmap:
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _has_external(
    data: mmap.mmap, start: int, end: int, message: str, depth: int
) -> bool:
    if depth == 0:
        raise ValueError("nested too deeply")
    inner = _FIELDS.get(message, {})
    for field, wire, first, last in _fields(data, start, end):
        if message == "Tensor" and _points_outside(data, field, wire, first):
            return True
        if field not in inner or wire != _BYTES:
            continue
        if _has_external(data, first, last, inner[field], depth - 1):
            return True
    return False


def _points_outside(data: mmap.mmap, field: int, wire: int, first: int) -> bool:
    """Tell whether a field of a TensorProto says that its data are elsewhere."""
    if field == _TENSOR_EXTERNAL_DATA:
        return True
    is_default = wire == _VARINT and data[first] == 0
    return field == _TENSOR_DATA_LOCATION and not is_default


def _fields(
    data: mmap.mmap, start: int, end: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, wire type, start, end) of each value in a message."""
    position = start
    while position < end:
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == _VARINT:
            first = position
            _, position = _varint(data, position)
        elif wire == _BYTES:
            size, first = _varint(data, position)
            position = first + size
        elif wire in _FIXED_SIZE:
            first = position
            position += _FIXED_SIZE[wire]
        else:
            raise ValueError("unknown wire type")
        if position > end:
            raise ValueError("a field leaves its message")
        yield tag >> 3, wire, first, position


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
