"""What a request says besides its tensors; a parameter nobody knows is refused.

Left unread, a misspelt `window_center` would change the verdict without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.frame import Priority
from spinert.runtime.kserve.refusals import parameter_invalid
from spinert.runtime.messages import MAX_UID_BYTES, checked_device

__all__ = [
    "FINAL_RESPONSE",
    "Parameters",
    "RegionPart",
    "Wishes",
    "parameters_from_wire",
    "region_part_from_parameters",
    "wants_final_response",
    "wishes_from_parameters",
]

Parameters = Mapping[str, bool | int | float | str]
_Wire = Mapping[str, oip.InferParameter]

FINAL_RESPONSE = "triton_final_response"
"""Of a reply on a stream: no other one follows for the same request."""

_WANTS_FINAL = "triton_enable_empty_final_response"
_GENERAL: Mapping[str, type] = MappingProxyType(
    {
        "priority": int,
        "timeout": int,
        "device": str,
        # What clients of Triton send whether or not a model keeps sequences.
        "sequence_id": int,
        "sequence_start": bool,
        "sequence_end": bool,
        _WANTS_FINAL: bool,
    }
)
_REGION: Mapping[str, type] = MappingProxyType(
    {
        "shared_memory_region": str,
        "shared_memory_byte_size": int,
        "shared_memory_offset": int,
        "binary_data": bool,
    }
)
_PRIORITIES = MappingProxyType(
    {0: Priority.ROUTINE, 1: Priority.STAT, 2: Priority.ROUTINE}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionPart:
    """Where in shared memory a tensor lies."""

    region: str
    offset: int
    length: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What any request may ask for."""

    priority: Priority = Priority.ROUTINE
    timeout_s: float | None = None
    device: str = ""
    rest: Parameters = field(default_factory=dict)
    """Parameters of the model."""


def parameters_from_wire(
    wire: _Wire, known: Mapping[str, type], where: str
) -> Parameters:
    """Read parameters whose names and types are `known`; whole numbers are numbers.

    Raises:
        ProtocolViolation: PARAMETER_INVALID.
    """
    found: dict[str, bool | int | float | str] = {}
    for name, parameter in wire.items():
        if name not in known:
            raise parameter_invalid(
                f"{where} has a parameter this server does not know; it knows "
                + ", ".join(known)
            )
        found[name] = _value(parameter, known[name], name)
    return found


def wishes_from_parameters(wire: _Wire, known: Mapping[str, type]) -> Wishes:
    """Read the parameters of a request to a model that has `known` ones of its own.

    Raises:
        ProtocolViolation: PARAMETER_INVALID or FIELD_TOO_LONG.
    """
    if not wire:
        return Wishes()
    found = dict(parameters_from_wire(wire, {**_GENERAL, **known}, "the request"))
    priority: Any = found.pop("priority", 0)
    timeout_us: Any = found.pop("timeout", 0)
    device = checked_device(str(found.pop("device", "")))
    if priority not in _PRIORITIES:
        raise parameter_invalid("priority: 1 is urgent, 2 or 0 routine")
    if timeout_us < 0:
        raise parameter_invalid("timeout is in microseconds, from 0")
    if found.pop("sequence_id", 0):
        raise parameter_invalid("models here keep no sequences: leave sequence_id out")
    for name in ("sequence_start", "sequence_end", _WANTS_FINAL):
        found.pop(name, None)
    for name, value in found.items():
        if isinstance(value, str) and len(value.encode()) > MAX_UID_BYTES:
            raise parameter_invalid(
                f"{name} may have at most {MAX_UID_BYTES} bytes (UTF-8)"
            )
    return Wishes(
        priority=_PRIORITIES[priority],
        timeout_s=timeout_us / 1e6 if timeout_us else None,
        device=device,
        rest=found,
    )


def region_part_from_parameters(where: str, wire: _Wire) -> RegionPart | None:
    """Return where in shared memory a tensor lies; None: it is not there.

    Raises:
        ProtocolViolation: PARAMETER_INVALID.
    """
    if not wire:
        return None
    found: Mapping[str, Any] = parameters_from_wire(wire, _REGION, where)
    if "shared_memory_region" not in found:
        if any(name.startswith("shared_memory") for name in found):
            raise parameter_invalid(f"{where} names no shared_memory_region")
        return None
    if "shared_memory_byte_size" not in found:
        raise parameter_invalid(
            f"{where} names a region without shared_memory_byte_size"
        )
    return RegionPart(
        region=found["shared_memory_region"],
        offset=found.get("shared_memory_offset", 0),
        length=found["shared_memory_byte_size"],
    )


def wants_final_response(wire: _Wire) -> bool:
    """Tell whether a reply on a stream shall say that it is its request's last."""
    return _WANTS_FINAL in wire and wire[_WANTS_FINAL].bool_param


def _value(
    parameter: oip.InferParameter, wanted: type, name: str
) -> bool | int | float | str:
    kind = parameter.WhichOneof("parameter_choice")
    value: bool | int | float | str = getattr(parameter, kind) if kind else ""
    if wanted is float and type(value) is int:
        return float(value)
    if kind is None or type(value) is not wanted:
        raise parameter_invalid(f"parameter {name} must be of type {wanted.__name__}")
    return value
