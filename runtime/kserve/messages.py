"""Inference requests as they arrive: large tensors stay where the message has them.

The entries of raw_input_contents are found by a scan, see
`spinert.runtime.server.large_fields`; protobuf parses what is left.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from spinert.proto import open_inference_pb2 as oip
from spinert.runtime.errors import ProtocolViolation
from spinert.runtime.kserve.calls import Received
from spinert.runtime.server.large_fields import (
    MIN_VIEW_BYTES,
    Field,
    UnusualMessageError,
    fields_of,
    rest_of,
)
from spinert.runtime.server.requests import malformed

__all__ = ["received_from_bytes"]

_RAW_CONTENTS = oip.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER


def received_from_bytes(message: bytes) -> Received | ProtocolViolation:
    """Parse a ModelInferRequest; large raw contents are views of `message`.

    Returns the error instead of raising it, as `deserializer_of` has it.
    """
    raw = _raw_contents(message) if len(message) >= MIN_VIEW_BYTES else None
    try:
        if raw is None:
            request = oip.ModelInferRequest.FromString(message)
            return Received(request=request, raw_contents=request.raw_input_contents)
        rest = rest_of(message, 0, len(message), raw)
        view = memoryview(message)
        return Received(
            request=oip.ModelInferRequest.FromString(rest),
            raw_contents=[view[field.value : field.end] for field in raw],
        )
    except DecodeError:
        return malformed(oip.ModelInferRequest)


def _raw_contents(message: bytes) -> list[Field] | None:
    """Return where they lie; None: for protobuf to judge."""
    try:
        fields = fields_of(message, 0, len(message))
        raw = [field for field in fields if field.number == _RAW_CONTENTS]
    except UnusualMessageError:
        return None
    return raw if all(field.is_bytes for field in raw) else None
