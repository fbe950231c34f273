"""The protocol's element types, and how each is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from spinert.proto import open_inference_pb2 as oip

__all__ = ["BYTES", "DATATYPES", "Datatype"]

BYTES = "BYTES"


@dataclass(frozen=True, kw_only=True, slots=True)
class Datatype:
    """One element type."""

    name: str
    config: oip.DataType
    """As ModelConfig writes it."""
    dtype: np.dtype[Any] | None
    """Little endian, as the wire is; None: byte strings of any length."""
    contents: str
    """Field of InferTensorContents."""


def _number(name: str, config: oip.DataType, code: str, contents: str) -> Datatype:
    return Datatype(name=name, config=config, dtype=np.dtype(code), contents=contents)


DATATYPES: Mapping[str, Datatype] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            _number("UINT8", oip.TYPE_UINT8, "<u1", "uint_contents"),
            _number("UINT16", oip.TYPE_UINT16, "<u2", "uint_contents"),
            _number("INT16", oip.TYPE_INT16, "<i2", "int_contents"),
            _number("INT32", oip.TYPE_INT32, "<i4", "int_contents"),
            _number("INT64", oip.TYPE_INT64, "<i8", "int64_contents"),
            _number("FP32", oip.TYPE_FP32, "<f4", "fp32_contents"),
            _number("FP64", oip.TYPE_FP64, "<f8", "fp64_contents"),
            Datatype(
                name=BYTES,
                config=oip.TYPE_STRING,
                dtype=None,
                contents="bytes_contents",
            ),
        )
    }
)
"""By name: those that models here take or return."""
