"""What a pickle of arrays may hold, and the few names it may call.

Stand-ins for NumPy's reconstruction: none allocates what a file announces, each
makes exactly what the file's bytes fill.

source: numpy ndarray.__reduce__ and dtype.__reduce__ (the state tuples).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "CALLS",
    "PickledArray",
    "PickledDtype",
    "PickledMapping",
    "RefusedPickle",
    "array_from_bytes",
    "put",
    "tuple_from_value",
]

_KINDS: Final = frozenset(
    ("b1", "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
)
_ORDERS: Final = frozenset("<>|=")


class RefusedPickle(Exception):
    """The file asks for something other than arrays and plain containers."""


class NoCall:
    """Stands for the class `numpy.ndarray`, which is only ever an argument."""

    __slots__ = ()


@dataclass
class PickledDtype:
    """A dtype whose byte order comes after its kind."""

    kind: str
    order: str = "="

    def set_state(self, state: object) -> None:
        """Take (version, byte order, subarray, names, fields, ...); plain ones only."""
        values = tuple_from_value(state)
        if len(values) < 5 or values[1] not in _ORDERS or any(values[2:5]):
            raise RefusedPickle("an array of something other than numbers")
        self.order = str(values[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type with the file's byte order."""
        return np.dtype(self.order + self.kind)


@dataclass
class PickledArray:
    """An array between its announcement and its values."""

    values: npt.NDArray[Any] | None = None


class PickledMapping(dict[Any, Any]):
    """An OrderedDict of the file; attributes such as `_metadata` are dropped."""


def tuple_from_value(value: object) -> tuple[Any, ...]:
    """Return a tuple as such; anything else in its place is damage."""
    if not isinstance(value, tuple):
        raise ValueError("not a tuple")
    return value


def _bytes(value: object) -> bytes:
    """Return raw values; Python 2 wrote them as its `str`, read here as Latin-1."""
    if isinstance(value, str):
        return value.encode("latin1")
    if not isinstance(value, bytes | bytearray):
        raise RefusedPickle("an array of something other than numbers")
    return bytes(value)


def _native(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def array_from_bytes(
    shape: object, dtype: object, is_fortran: object, raw: object
) -> Any:
    """Return an array of exactly the bytes that the file holds for it."""
    data, lengths = _bytes(raw), tuple_from_value(shape)
    if not isinstance(dtype, PickledDtype):
        raise ValueError("not a dtype")
    if not all(type(n) is int and n >= 0 for n in lengths):
        raise ValueError("not a shape")
    if math.prod(lengths) * dtype.dtype.itemsize != len(data):
        raise ValueError("shape and bytes disagree")
    flat = np.frombuffer(data, dtype.dtype)
    return _native(flat.reshape(lengths, order="F" if is_fortran else "C"))


def _make_array(_kind: object, _shape: object, _typecode: object) -> PickledArray:
    """Answer `_reconstruct`; the shape announced there is never allocated."""
    return PickledArray()


def _make_array_from_buffer(
    raw: object, dtype: object, shape: object, order: object
) -> Any:
    return array_from_bytes(shape, dtype, order == "F", raw)


def _make_dtype(kind: object, *_flags: object) -> PickledDtype:
    if kind not in _KINDS:
        raise RefusedPickle("an array of something other than numbers")
    return PickledDtype(str(kind))


def _make_scalar(dtype: object, raw: object) -> Any:
    return array_from_bytes((), dtype, False, raw).item()


def _make_bytes(text: object = "", codec: object = "latin1") -> bytes:
    """Answer `_codecs.encode`, by which protocol 2 spells bytes."""
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise ValueError("not bytes as text")
    return text.encode("latin1")


def _make_mapping(items: object = ()) -> PickledMapping:
    if not isinstance(items, list | tuple):
        raise ValueError("not a list of pairs")
    mapping = PickledMapping()
    for key, value in items:
        put(mapping, key, value)
    return mapping


def put(mapping: object, key: object, value: object) -> None:
    """Set an item of a dictionary; keys are text or numbers."""
    if type(mapping) not in (dict, PickledMapping):
        raise ValueError("not a dictionary")
    if not isinstance(key, str | bytes | int | float | None):
        raise RefusedPickle("a dictionary whose keys are not plain")
    mapping[key] = value  # type: ignore[index]


_NDARRAY: Final = NoCall()
_MULTIARRAY: Final = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC: Final = ("numpy.core.numeric", "numpy._core.numeric")
CALLS: Final[Mapping[tuple[str, str], object]] = MappingProxyType(
    {
        **{(module, "_reconstruct"): _make_array for module in _MULTIARRAY},
        **{(module, "scalar"): _make_scalar for module in _MULTIARRAY},
        **{(module, "_frombuffer"): _make_array_from_buffer for module in _NUMERIC},
        ("numpy", "ndarray"): _NDARRAY,
        ("numpy", "dtype"): _make_dtype,
        ("_codecs", "encode"): _make_bytes,
        ("builtins", "bytes"): _make_bytes,
        ("__builtin__", "bytes"): _make_bytes,
        ("collections", "OrderedDict"): _make_mapping,
    }
)
"""What a file may name, and what answers."""
