"""The tensors of an answer: into the message, or into shared memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.kserve.datatypes import DATATYPES
from spinert.runtime.kserve.models import VERDICT, VERSION, Model, TensorSpec
from spinert.runtime.kserve.parameters import RegionPart, region_part_from_parameters
from spinert.runtime.kserve.refusals import tensor_invalid

__all__ = [
    "Elements",
    "RegionWrite",
    "Wanted",
    "response_from_outputs",
    "set_parameter",
    "wanted_outputs",
]

Elements = npt.NDArray[Any] | Sequence[bytes]
"""Numbers, or byte strings of a tensor with one axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """An output that is asked for, and where it goes; None: into the message."""

    spec: TensorSpec
    part: RegionPart | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionWrite:
    """What has to be written to shared memory before the answer is sent."""

    part: RegionPart
    data: bytes


def wanted_outputs(request: oip.ModelInferRequest, model: Model) -> tuple[Wanted, ...]:
    """Return the outputs that `request` asks for, in its order.

    Without any it is all of them, except the verdict as JSON.

    Raises:
        ProtocolViolation: TENSOR_INVALID or PARAMETER_INVALID.
    """
    specs = {spec.name: spec for spec in model.outputs}
    if not request.outputs:
        return tuple(Wanted(spec=s) for s in model.outputs if s.name != VERDICT)
    found: dict[str, Wanted] = {}
    for output in request.outputs:
        if output.name not in specs:
            raise tensor_invalid(
                f"model {model.name!r} has no such output; its outputs are "
                + ", ".join(specs)
            )
        if output.name in found:
            raise tensor_invalid(f"output {output.name} is asked for twice")
        where = f"output {output.name}"
        part = region_part_from_parameters(where, output.parameters)
        found[output.name] = Wanted(spec=specs[output.name], part=part)
    return tuple(found.values())


def response_from_outputs(
    request: oip.ModelInferRequest,
    wanted: Sequence[Wanted],
    outputs: Mapping[str, Elements],
) -> tuple[oip.ModelInferResponse, Sequence[RegionWrite]]:
    """Build the answer, and say what belongs into shared memory.

    Raises:
        ProtocolViolation: TENSOR_INVALID: an output does not fit where it should go.
    """
    response = oip.ModelInferResponse(
        model_name=request.model_name, model_version=VERSION, id=request.id
    )
    writes = []
    for output in wanted:
        elements = outputs[output.spec.name]
        data = _raw(elements, output.spec)
        told = response.outputs.add(
            name=output.spec.name,
            datatype=output.spec.datatype,
            shape=np.shape(elements) if len(elements) else _empty_shape(output.spec),
        )
        if output.part is None:
            response.raw_output_contents.append(data)
            continue
        writes.append(_write(output.spec, output.part, data, told))
        # Clients count on one entry for each output.
        response.raw_output_contents.append(b"")
    return response, writes


def set_parameter(
    response: oip.ModelInferResponse, name: str, value: bool | float | str
) -> None:
    """Add a parameter to `response`."""
    parameter = response.parameters[name]
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, str):
        parameter.string_param = value
    else:
        parameter.double_param = value


def _write(
    spec: TensorSpec,
    part: RegionPart,
    data: bytes,
    told: oip.ModelInferResponse.InferOutputTensor,
) -> RegionWrite:
    if len(data) > part.length:
        raise tensor_invalid(
            f"output {spec.name} has {len(data)} bytes and shared_memory_byte_size is "
            f"{part.length}: make room for it"
        )
    told.parameters["shared_memory_region"].string_param = part.region
    told.parameters["shared_memory_offset"].int64_param = part.offset
    told.parameters["shared_memory_byte_size"].int64_param = len(data)
    return RegionWrite(part=part, data=data)


def _raw(elements: Elements, spec: TensorSpec) -> bytes:
    dtype = DATATYPES[spec.datatype].dtype
    if dtype is None:
        strings = [bytes(element) for element in elements]
        return b"".join(len(s).to_bytes(4, "little") + s for s in strings)
    return np.asarray(elements, dtype).tobytes()


def _empty_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of no boxes, which a list cannot tell."""
    return (0, *spec.shape[1:])
