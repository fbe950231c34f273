"""Write requests with one copy of the pixels instead of three.

Protobuf copies a bytes field into the message and again into the wire. Here it
writes everything else, and the payload is joined in as the last field; fields may
come in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

from spinert.proto import inference_pb2 as pb
from spinert.runtime.client.frames import Frame
from spinert.runtime.frame import Priority

__all__ = [
    "Outgoing",
    "bytes_from_outgoing",
    "outgoing_analyze",
    "outgoing_frame",
    "wire_priority",
]

_LENGTH_DELIMITED = 2
_PRIORITY: dict[Priority, pb.Priority] = {
    Priority.ROUTINE: pb.PRIORITY_ROUTINE,
    Priority.STAT: pb.PRIORITY_STAT,
}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as pieces, in order; their sum is the size on the wire."""

    pieces: tuple[bytes | memoryview, ...]

    @property
    def size_bytes(self) -> int:
        """Return the size of the message."""
        return sum(len(piece) for piece in self.pieces)


def bytes_from_outgoing(message: Outgoing) -> bytes:
    """Serialise; gRPC calls it once for each attempt to send."""
    return b"".join(message.pieces)


def outgoing_frame(frame: Frame, frame_id: str, sequence: int) -> Outgoing:
    """Return the StreamRequest that carries `frame`."""
    pieces = _frame_pieces(frame, frame_id, sequence)
    return Outgoing(_wrapped(pb.StreamRequest.FRAME_FIELD_NUMBER, pieces))


def outgoing_analyze(frame: Frame, frame_id: str, device: str) -> Outgoing:
    """Return the AnalyzeRequest that carries `frame`."""
    pieces = _frame_pieces(frame, frame_id, 0)
    head = pb.AnalyzeRequest(device=device).SerializeToString()
    return Outgoing((head, *_wrapped(pb.AnalyzeRequest.FRAME_FIELD_NUMBER, pieces)))


def wire_priority(priority: Priority | None) -> pb.Priority:
    """Return what stands for `priority` in messages."""
    return pb.PRIORITY_UNSPECIFIED if priority is None else _PRIORITY[priority]


def _frame_pieces(
    frame: Frame, frame_id: str, sequence: int
) -> tuple[bytes | memoryview, ...]:
    options = frame.options
    head = pb.Frame(
        frame_id=frame_id,
        sequence=sequence,
        study_uid=options.study_uid,
        series_uid=options.series_uid,
        priority=wire_priority(options.priority),
        outputs=sorted(f"OUTPUT_{output.name}" for output in options.outputs),
        timeout_ms=options.timeout_ms,
        shared=frame.shared,
    ).SerializeToString()
    payload: tuple[bytes | memoryview, ...] = (frame.payload,)
    if frame.raw is not None:
        pixels = _wrapped(pb.RawImage.PIXELS_FIELD_NUMBER, payload)
        payload = (frame.raw.SerializeToString(), *pixels)
    return (head, *_wrapped(frame.content_field, payload))


def _wrapped(
    number: int, pieces: tuple[bytes | memoryview, ...]
) -> tuple[bytes | memoryview, ...]:
    """Make `pieces` the value of field `number`."""
    tag = _varint(number << 3 | _LENGTH_DELIMITED)
    return (tag + _varint(sum(len(piece) for piece in pieces)), *pieces)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
