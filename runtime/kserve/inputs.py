"""The tensors of a request: checked, and viewed where they lie."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.errors import MalformedFrame, Reason
from spinert.runtime.frame import Buffer, Lent, Payload, bytes_of, size_of
from spinert.runtime.kserve.datatypes import DATATYPES, Datatype
from spinert.runtime.kserve.models import Model, TensorSpec
from spinert.runtime.kserve.parameters import RegionPart, region_part_from_parameters
from spinert.runtime.kserve.refusals import tensor_invalid

__all__ = ["InputTensor", "Lender", "element_of", "inputs_from_request"]

_MAX_TYPED_ELEMENTS = 4096
_LENGTH_BYTES = 4
"""Of the little-endian length in front of an element of BYTES."""

_InferInput = oip.ModelInferRequest.InferInputTensor


class Lender(Protocol):
    """Where shared memory is found: `spinert.runtime.server.regions.Regions`."""

    def lend(self, name: str, offset: int, length: int) -> Lent:
        """Return a part of a region, to be read where it is needed.

        Raises:
            RegionRefused: There is no such part.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class InputTensor:
    """One input whose name, type, shape and length are right."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    payload: Payload
    """Elements in C order, little endian; BYTES as on the wire."""
    part: RegionPart | None = None
    """Where in shared memory that is."""

    def array(self, data: Buffer) -> npt.NDArray[Any]:
        """View `data`, the bytes of the payload, as numbers; read-only."""
        found = np.frombuffer(data, self.datatype.dtype).reshape(self.shape)
        found.flags.writeable = False
        return found


def inputs_from_request(
    request: oip.ModelInferRequest,
    raw_contents: Iterable[Buffer],
    model: Model,
    lender: Lender,
) -> Mapping[str, InputTensor]:
    """Find the tensors of `request`, by name; nothing large is copied.

    Args:
        request: Its own raw_input_contents are not read.
        raw_contents: Instead of them.
        model: What is asked for.
        lender: Of shared memory.

    Raises:
        ProtocolViolation: TENSOR_INVALID: a tensor is unknown, double, missing, of the
            wrong type, shape or length, or its elements are nowhere.
        RegionRefused: A region cannot be read.
    """
    specs = {spec.name: spec for spec in model.inputs}
    raw = iter(raw_contents)
    found: dict[str, InputTensor] = {}
    for tensor in request.inputs:
        spec = specs.get(tensor.name)
        if spec is None:
            raise tensor_invalid(
                f"model {model.name!r} has no such input; its inputs are "
                + ", ".join(specs)
            )
        if tensor.name in found:
            raise tensor_invalid(f"input {spec.name} comes twice")
        found[tensor.name] = _input_tensor(tensor, spec, raw, lender)
    if next(raw, None) is not None:
        raise tensor_invalid(
            "raw_input_contents holds more entries than there are inputs"
        )
    for spec in model.inputs:
        if not spec.is_optional and spec.name not in found:
            raise tensor_invalid(
                f"input {spec.name} of model {model.name!r} is missing"
            )
    return found


def element_of(
    tensor: InputTensor, head_bytes: int, lender: Lender
) -> tuple[bytes, Payload]:
    """Return the one element of a BYTES tensor, and a copy of its first bytes.

    Raises:
        MalformedFrame: EMPTY_FRAME.
        ProtocolViolation: TENSOR_INVALID: its length does not fill the tensor.
        RegionRefused: It lies in shared memory that cannot be read.
    """
    size, part = size_of(tensor.payload), tensor.part
    if part is None:
        view = memoryview(bytes_of(tensor.payload))
        start = bytes(view[: _LENGTH_BYTES + head_bytes])
    else:
        few = min(size, _LENGTH_BYTES + head_bytes)
        start = bytes(lender.lend(part.region, part.offset, few).fetch())
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + length
    # In shared memory what lies behind the element is nobody's business.
    if size < _LENGTH_BYTES or end > size or (part is None and end < size):
        raise tensor_invalid(
            f"input {tensor.name}: its element must be {_LENGTH_BYTES} bytes of "
            "length, little endian, and that many bytes"
        )
    if not length:
        raise MalformedFrame(Reason.EMPTY_FRAME, f"input {tensor.name} has no bytes")
    head = start[_LENGTH_BYTES:end]
    if part is None:
        return head, view[_LENGTH_BYTES:end]
    return head, lender.lend(part.region, part.offset + _LENGTH_BYTES, length)


def _input_tensor(
    tensor: _InferInput, spec: TensorSpec, raw: Iterator[Buffer], lender: Lender
) -> InputTensor:
    if tensor.datatype not in spec.datatypes:
        raise tensor_invalid(f"input {spec.name} must be {' or '.join(spec.datatypes)}")
    datatype = DATATYPES[tensor.datatype]
    shape = _checked_shape(tensor, spec)
    part = region_part_from_parameters(f"input {spec.name}", tensor.parameters)
    payload = _payload(tensor, datatype, part, raw, lender)
    if datatype.dtype is not None:
        wanted = math.prod(shape) * datatype.dtype.itemsize
        if size_of(payload) != wanted:
            raise tensor_invalid(
                f"input {spec.name} has {size_of(payload)} bytes; {datatype.name} of "
                f"shape {list(shape)} takes {wanted}"
            )
    return InputTensor(
        name=spec.name, datatype=datatype, shape=shape, payload=payload, part=part
    )


def _checked_shape(tensor: _InferInput, spec: TensorSpec) -> tuple[int, ...]:
    # Looked at one by one, on the event loop: their number must be bounded.
    fits = len(tensor.shape) == len(spec.shape)
    shape = tuple(tensor.shape) if fits else ()
    fits = fits and all(
        size >= 1 and wanted in (-1, size)
        for size, wanted in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise tensor_invalid(
            f"input {spec.name} must be of shape {list(spec.shape)}, where -1 is any "
            "size from 1"
        )
    return shape


def _payload(
    tensor: _InferInput,
    datatype: Datatype,
    part: RegionPart | None,
    raw: Iterator[Buffer],
    lender: Lender,
) -> Payload:
    """Return the bytes of `tensor`, from the one place where they are."""
    has_contents = tensor.HasField("contents")
    if part is not None:
        if has_contents:
            raise tensor_invalid(f"input {tensor.name} has both contents and a region")
        return lender.lend(part.region, part.offset, part.length)
    if has_contents:
        return _typed(tensor, datatype)
    payload = next(raw, None)
    if payload is None:
        raise tensor_invalid(
            f"input {tensor.name} has no elements: put them into raw_input_contents, "
            "or name a shared-memory region"
        )
    return payload


def _typed(tensor: _InferInput, datatype: Datatype) -> bytes:
    """Write down the few elements of a typed tensor as raw ones."""
    values = getattr(tensor.contents, datatype.contents)
    if len(values) > _MAX_TYPED_ELEMENTS:
        raise tensor_invalid(
            f"input {tensor.name}: typed contents are for up to {_MAX_TYPED_ELEMENTS} "
            "elements; put them into raw_input_contents"
        )
    if len(values) != math.prod(tensor.shape) or len(tensor.contents.ListFields()) > 1:
        raise tensor_invalid(
            f"input {tensor.name}: {datatype.contents}, and no other field, must hold "
            f"the {math.prod(tensor.shape)} elements of its shape"
        )
    if datatype.dtype is None:
        return b"".join(len(v).to_bytes(_LENGTH_BYTES, "little") + v for v in values)
    wide = np.array(list(values))
    # Several types share a field of wider numbers.
    narrow = wide.astype(datatype.dtype)
    if datatype.dtype.kind != "f" and (wide != narrow).any():
        raise tensor_invalid(
            f"input {tensor.name}: an element does not fit into {datatype.name}"
        )
    return narrow.tobytes()
