"""Read requests without copying their pixels.

Protobuf copies a bytes field twice on its way into Python: into the message and
out of it. Here the large field is found by scanning the few tags around it and
stays a view of the received message; protobuf parses what is left. Only the
usual shape takes this way: one frame, one content, a payload worth it. Anything
else, valid or not, goes through protobuf, so its rules (last one wins, merging,
unknown fields) hold without being written twice. The scan itself is lenient:
every byte that is not the payload or its tag is still judged by protobuf.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import ProtocolViolation, Reason
from spinert.runtime.frame import Buffer

__all__ = [
    "MIN_VIEW_BYTES",
    "ReceivedAnalyze",
    "ReceivedFrame",
    "analyze_from_bytes",
    "stream_request_from_bytes",
]

MIN_VIEW_BYTES = 512 * 1024
"""Below this a copy is cheaper than the scan of 15 to 35 microseconds."""

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_MAX_FIELDS = 64
"""Of one message; a Frame has 10. More are for protobuf, which is not Python."""
_MAX_VARINT_BYTES = 5
_MAX_VALUE_BYTES = 10
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


def analyze_from_bytes(message: bytes) -> ReceivedAnalyze | ProtocolViolation:
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
        request = pb.AnalyzeRequest.FromString(message)
    except DecodeError:
        return _malformed("AnalyzeRequest")
    received_frame = _copied(request.frame) if request.HasField("frame") else None
    return ReceivedAnalyze(device=request.device, received=received_frame)


def stream_request_from_bytes(
    message: bytes,
) -> ReceivedFrame | pb.StreamRequest | ProtocolViolation:
    """Parse a StreamRequest; a frame's payload is a view of `message`.

    Returns the error instead of raising it, so that the stream can live on.
    """
    try:
        split = _frame_of(message, pb.StreamRequest.FRAME_FIELD_NUMBER)
        if split and not split[1]:
            return split[0]
        request = pb.StreamRequest.FromString(message)
    except DecodeError:
        return _malformed("StreamRequest")
    return _copied(request.frame) if request.HasField("frame") else request


def _malformed(name: str) -> ProtocolViolation:
    return ProtocolViolation(
        Reason.MALFORMED_MESSAGE, f"not a {name} of package spinert.v1: check the proto"
    )


def _copied(frame: pb.Frame) -> ReceivedFrame:
    kind = frame.WhichOneof("content")
    if kind == "raw":
        return ReceivedFrame(frame=frame, payload=frame.raw.pixels)
    return ReceivedFrame(frame=frame, payload=getattr(frame, kind) if kind else b"")


# ------------------------------------------------------------------- scanning


class _NotUsualError(Exception):
    """The bytes are for protobuf to judge."""


@dataclass(frozen=True, slots=True)
class _Field:
    number: int
    is_bytes: bool
    start: int  # of the tag
    value: int  # of the value, behind the length if there is one
    end: int


def _frame_of(message: bytes, number: int) -> tuple[ReceivedFrame, bytes] | None:
    """Return the frame in field `number` and all other bytes of the envelope."""
    if len(message) < MIN_VIEW_BYTES:
        return None
    try:
        field = _only(_fields(message, 0, len(message)), {number})
        received = _frame_from_span(message, field.value, field.end)
    except _NotUsualError:
        return None
    return received, message[: field.start] + message[field.end :]


def _frame_from_span(message: bytes, start: int, end: int) -> ReceivedFrame:
    content = _only(_fields(message, start, end), _CONTENT)
    head, tail = message[start : content.start], message[content.end : end]
    frame = pb.Frame.FromString(head + tail)
    if content.number != pb.Frame.RAW_FIELD_NUMBER:
        is_dicom = content.number == pb.Frame.DICOM_FIELD_NUMBER
        setattr(frame, "dicom" if is_dicom else "encoded", b"")
        return ReceivedFrame(
            frame=frame, payload=memoryview(message)[content.value : content.end]
        )
    pixels = _only(
        _fields(message, content.value, content.end),
        {pb.RawImage.PIXELS_FIELD_NUMBER},
    )
    head = message[content.value : pixels.start]
    frame.raw.ParseFromString(head + message[pixels.end : content.end])
    return ReceivedFrame(
        frame=frame, payload=memoryview(message)[pixels.value : pixels.end]
    )


def _only(fields: Iterator[_Field], numbers: set[int]) -> _Field:
    found = []
    for count, field in enumerate(fields):
        if count == _MAX_FIELDS:
            raise _NotUsualError
        if field.number in numbers:
            found.append(field)
    if len(found) != 1 or not found[0].is_bytes:
        raise _NotUsualError
    return found[0]


def _fields(message: bytes, position: int, end: int) -> Iterator[_Field]:
    while position < end:
        start = position
        tag, position = _varint(message, position, end)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _LENGTH_DELIMITED:
            length, position = _varint(message, position, end)
            after = position + length
        elif wire_type == _VARINT:
            after = _varint_end(message, position, end)
        elif wire_type in (_FIXED32, _FIXED64):
            after = position + (8 if wire_type == _FIXED64 else 4)
        else:
            raise _NotUsualError
        if after > end:
            raise _NotUsualError
        yield _Field(number, wire_type == _LENGTH_DELIMITED, start, position, after)
        position = after


def _varint(message: bytes, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        if position >= end:
            raise _NotUsualError
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _NotUsualError


def _varint_end(message: bytes, position: int, end: int) -> int:
    for i in range(position, min(end, position + _MAX_VALUE_BYTES)):
        if message[i] < 0x80:
            return i + 1
    raise _NotUsualError
