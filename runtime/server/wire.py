"""Read requests without copying their pixels, see `large_fields`.

Only the usual shape takes this way: one frame, one content, a payload worth it.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import ProtocolViolation
from spinert.runtime.frame import Buffer
from spinert.runtime.server.large_fields import (
    MIN_VIEW_BYTES,
    Field,
    UnusualMessageError,
    fields_of,
    rest_of,
)
from spinert.runtime.server.requests import malformed

__all__ = [
    "ReceivedAnalyze",
    "ReceivedFrame",
    "analyze_from_bytes",
    "stream_request_from_bytes",
]

_CONTENT = {
    pb.Frame.DICOM_FIELD_NUMBER,
    pb.Frame.RAW_FIELD_NUMBER,
    pb.Frame.ENCODED_FIELD_NUMBER,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedFrame:
    """A frame and its payload; `frame`'s own payload field may be empty."""

    frame: pb.Frame
    payload: Buffer


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedAnalyze:
    """An AnalyzeRequest; `received` is None where it holds no frame."""

    device: str
    received: ReceivedFrame | None


def analyze_from_bytes(message: Buffer) -> ReceivedAnalyze | ProtocolViolation:
    """Parse an AnalyzeRequest; the payload is a view of `message`.

    Returns the error instead of raising it, because gRPC turns whatever a
    deserialiser raises into INTERNAL.
    """
    try:
        if split := _frame_of(message, pb.AnalyzeRequest.FRAME_FIELD_NUMBER):
            received, rest = split
            return ReceivedAnalyze(
                device=pb.AnalyzeRequest.FromString(rest).device, received=received
            )
        request = pb.AnalyzeRequest.FromString(bytes(message))
    except DecodeError:
        return malformed(pb.AnalyzeRequest)
    received_frame = _copied(request.frame) if request.HasField("frame") else None
    return ReceivedAnalyze(device=request.device, received=received_frame)


def stream_request_from_bytes(
    message: Buffer,
) -> ReceivedFrame | pb.StreamRequest | ProtocolViolation:
    """Parse a StreamRequest; a frame's payload is a view of `message`.

    Returns the error instead of raising it, so that the stream can live on.
    """
    try:
        split = _frame_of(message, pb.StreamRequest.FRAME_FIELD_NUMBER)
        if split and not split[1]:
            return split[0]
        request = pb.StreamRequest.FromString(bytes(message))
    except DecodeError:
        return malformed(pb.StreamRequest)
    return _copied(request.frame) if request.HasField("frame") else request


def _copied(frame: pb.Frame) -> ReceivedFrame:
    kind = frame.WhichOneof("content")
    if kind == "raw":
        return ReceivedFrame(frame=frame, payload=frame.raw.pixels)
    return ReceivedFrame(frame=frame, payload=getattr(frame, kind) if kind else b"")


# ------------------------------------------------------------------- scanning


def _frame_of(message: Buffer, number: int) -> tuple[ReceivedFrame, bytes] | None:
    """Return the frame in field `number` and all other bytes of the envelope."""
    if len(message) < MIN_VIEW_BYTES:
        return None
    try:
        field = _only(message, 0, len(message), {number})
        received = _frame_from_span(message, field.value, field.end)
    except UnusualMessageError:
        return None
    return received, rest_of(message, 0, len(message), (field,))


def _frame_from_span(message: Buffer, start: int, end: int) -> ReceivedFrame:
    content = _only(message, start, end, _CONTENT)
    frame = pb.Frame.FromString(rest_of(message, start, end, (content,)))
    if content.number != pb.Frame.RAW_FIELD_NUMBER:
        is_dicom = content.number == pb.Frame.DICOM_FIELD_NUMBER
        setattr(frame, "dicom" if is_dicom else "encoded", b"")
        return ReceivedFrame(frame=frame, payload=_view(message, content))
    start, end = content.value, content.end
    pixels = _only(message, start, end, {pb.RawImage.PIXELS_FIELD_NUMBER})
    frame.raw.ParseFromString(rest_of(message, start, end, (pixels,)))
    return ReceivedFrame(frame=frame, payload=_view(message, pixels))


def _view(message: Buffer, field: Field) -> Buffer:
    return memoryview(message)[field.value : field.end]


def _only(message: Buffer, start: int, end: int, numbers: set[int]) -> Field:
    found = [f for f in fields_of(message, start, end) if f.number in numbers]
    if len(found) != 1 or not found[0].is_bytes:
        raise UnusualMessageError
    return found[0]
