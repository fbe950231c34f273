"""The wire to values: frames as they arrive, and errors as they leave.

Answers are in `spinert.runtime.replies`. Nothing here does more than translate;
what a frame may hold is decided where it is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import (
    MalformedFrame,
    ProtocolViolation,
    Reason,
    SpinertError,
)
from spinert.runtime.frame import (
    Content,
    DicomFrame,
    EncodedFrame,
    FrameRequest,
    Payload,
    Priority,
    RawFrame,
    size_of,
)
from spinert.runtime.image import Photometric, Rescale, Spacing, VoiFunction, Window
from spinert.runtime.verdict import Output

__all__ = [
    "ERROR_DOMAIN",
    "MAX_DEVICE_BYTES",
    "MAX_FRAME_ID_BYTES",
    "MAX_UID_BYTES",
    "Refusal",
    "checked_device",
    "frame_error_from_refusal",
    "frame_request_from_wire",
    "known_frame_id",
    "refusal_from_error",
    "status_from_refusal",
]

ERROR_DOMAIN = "spinert"
MAX_FRAME_ID_BYTES = 128
_MAX_OUTPUTS = 8
MAX_DEVICE_BYTES = 64
MAX_UID_BYTES = 64
"""Value Representation UI, PS3.5 section 6.2."""

_LONGEST_DEADLINE_S = 86_400.0
"""Beyond a day a deadline is none; gRPC lets a client ask for 11,000 years."""

K = TypeVar("K", bound=int)
E = TypeVar("E", bound=Enum)

_PHOTOMETRIC = {
    pb.MONOCHROME1: Photometric.MONOCHROME1,
    pb.MONOCHROME2: Photometric.MONOCHROME2,
}
_VOI_FUNCTION = {
    pb.VOI_LUT_FUNCTION_UNSPECIFIED: VoiFunction.LINEAR,
    pb.LINEAR: VoiFunction.LINEAR,
    pb.LINEAR_EXACT: VoiFunction.LINEAR_EXACT,
    pb.SIGMOID: VoiFunction.SIGMOID,
}
_PRIORITY = {
    pb.PRIORITY_UNSPECIFIED: Priority.ROUTINE,
    pb.PRIORITY_ROUTINE: Priority.ROUTINE,
    pb.PRIORITY_STAT: Priority.STAT,
}
_OUTPUT = {
    pb.OUTPUT_CLASSIFICATION: Output.CLASSIFICATION,
    pb.OUTPUT_FINDINGS: Output.FINDINGS,
    pb.OUTPUT_SUPPRESSED: Output.SUPPRESSED,
}
_DEFAULT_OUTPUTS = frozenset({Output.CLASSIFICATION, Output.FINDINGS})


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """An error as a client sees it, on a unary call or inside a stream."""

    status: grpc.StatusCode
    reason: str
    message: str
    retry_after_ms: int = 0


# ---------------------------------------------------------------- frames in


def frame_request_from_wire(
    frame: pb.Frame,
    payload: Payload,
    *,
    device: str,
    arrived_s: float,
    deadline_s: float | None = None,
) -> FrameRequest:
    """Translate a frame; `payload` stands in for its bytes field.

    Args:
        frame: The frame; its own payload field is not read.
        payload: Content of `dicom`, `encoded` or `raw.pixels`.
        device: As in Open.device, already checked.
        arrived_s: When the frame arrived, monotonic clock.
        deadline_s: Of the call that carries the frame, monotonic clock. The
            earlier of it and `frame.timeout_ms` counts, unless it is beyond a day.

    Raises:
        MalformedFrame: Nothing to analyse, or a value that means nothing.
        ProtocolViolation: An identifier is too long or an enum value unknown.
    """
    _check_length("frame_id", frame.frame_id, MAX_FRAME_ID_BYTES)
    _check_length("study_uid", frame.study_uid, MAX_UID_BYTES)
    _check_length("series_uid", frame.series_uid, MAX_UID_BYTES)
    if frame.timeout_ms:
        own_s = arrived_s + frame.timeout_ms / 1000
        deadline_s = own_s if deadline_s is None else min(own_s, deadline_s)
    if deadline_s is not None and deadline_s - arrived_s > _LONGEST_DEADLINE_S:
        deadline_s = None
    return FrameRequest(
        content=_content(frame, payload),
        arrived_s=arrived_s,
        deadline_s=deadline_s,
        device=device,
        priority=_known(_PRIORITY, frame.priority, "priority"),
        outputs=_outputs(frame),
    )


def known_frame_id(frame: pb.Frame) -> str:
    """Return the id to answer `frame` with: none if it is over the limit."""
    return "" if _is_too_long(frame.frame_id, MAX_FRAME_ID_BYTES) else frame.frame_id


def checked_device(device: str) -> str:
    """Return `device` if it fits.

    Raises:
        ProtocolViolation: It is longer than MAX_DEVICE_BYTES.
    """
    _check_length("device", device, MAX_DEVICE_BYTES)
    return device


def _check_length(field: str, value: str, limit: int) -> None:
    if _is_too_long(value, limit):
        raise ProtocolViolation(
            Reason.FIELD_TOO_LONG, f"{field} may have at most {limit} bytes (UTF-8)"
        )


def _is_too_long(value: str, limit: int) -> bool:
    # A character takes one to four bytes, so most values need no encoding.
    return len(value) * 4 > limit and len(value.encode()) > limit


def _known(table: Mapping[K, E], value: K, field: str) -> E:
    if value not in table:
        raise ProtocolViolation(
            Reason.MALFORMED_MESSAGE, f"{field}: this server does not know {value}"
        )
    return table[value]


def _outputs(frame: pb.Frame) -> frozenset[Output]:
    # Looked at one by one, on the event loop: their number must be bounded.
    if len(frame.outputs) > _MAX_OUTPUTS:
        raise ProtocolViolation(
            Reason.MALFORMED_MESSAGE, f"outputs: at most {_MAX_OUTPUTS} values"
        )
    asked = frozenset(
        _known(_OUTPUT, value, "outputs")
        for value in frame.outputs
        if value != pb.OUTPUT_UNSPECIFIED
    )
    return asked or _DEFAULT_OUTPUTS


def _content(frame: pb.Frame, payload: Payload) -> Content:
    kind = frame.WhichOneof("content")
    if kind is None or not size_of(payload):
        raise MalformedFrame(
            Reason.EMPTY_FRAME, "the frame holds no image: set dicom, raw or encoded"
        )
    if kind == "dicom":
        return DicomFrame(data=payload)
    if kind == "encoded":
        return EncodedFrame(data=payload)
    return _raw_frame(frame.raw, payload)


def _raw_frame(raw: pb.RawImage, pixels: Payload) -> RawFrame:
    if raw.photometric_interpretation not in _PHOTOMETRIC:
        raise MalformedFrame(
            Reason.MALFORMED_RAW_IMAGE,
            "raw.photometric_interpretation must be MONOCHROME1 or MONOCHROME2",
        )
    return RawFrame(
        rows=raw.rows,
        columns=raw.columns,
        bits_stored=raw.bits_stored,
        is_signed=raw.is_signed,
        photometric=_PHOTOMETRIC[raw.photometric_interpretation],
        data=pixels,
        window=_window(raw.window) if raw.HasField("window") else None,
        rescale=Rescale(slope=raw.rescale.slope, intercept=raw.rescale.intercept)
        if raw.HasField("rescale")
        else None,
        spacing=Spacing(row_mm=raw.spacing.row_mm, column_mm=raw.spacing.column_mm)
        if raw.HasField("spacing")
        else None,
    )


def _window(window: pb.Window) -> Window:
    return Window(
        center=window.window_center,
        width=window.window_width,
        function=_known(_VOI_FUNCTION, window.function, "raw.window.function"),
    )


# --------------------------------------------------------------- errors out


def refusal_from_error(error: SpinertError) -> Refusal:
    """Say what a client may know of `error`: all of it."""
    return Refusal(
        status=error.status,
        reason=str(error.reason),
        message=error.message,
        retry_after_ms=error.retry_after_ms,
    )


def frame_error_from_refusal(
    refusal: Refusal, *, frame_id: str, sequence: int
) -> pb.FrameError:
    """Say in-band that one frame of a stream is not served."""
    return pb.FrameError(
        frame_id=frame_id,
        sequence=sequence,
        code=refusal.status.value[0],
        reason=refusal.reason,
        message=refusal.message,
        retry_after_ms=refusal.retry_after_ms,
    )


def status_from_refusal(refusal: Refusal) -> status_pb2.Status:
    """Build the google.rpc.Status of a failed call, with its ErrorInfo."""
    info = error_details_pb2.ErrorInfo(reason=refusal.reason, domain=ERROR_DOMAIN)
    if refusal.retry_after_ms:
        info.metadata["retry_after_ms"] = str(refusal.retry_after_ms)
    detail = any_pb2.Any()
    detail.Pack(info)
    return status_pb2.Status(
        code=code_pb2.Code.Value(refusal.status.name),
        message=refusal.message,
        details=[detail],
    )
