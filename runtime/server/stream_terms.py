"""What a stream is opened with, and what carries it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import ProtocolViolation, Reason, StreamStateError
from spinert.runtime.frame import Payload
from spinert.runtime.server.wire import ReceivedFrame

__all__ = ["Connection", "Received", "StreamTerms", "opening_from_first"]

Received = ReceivedFrame | pb.StreamRequest | ProtocolViolation


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamTerms:
    """What a stream was opened with; it holds for its whole life."""

    device: str
    """Whose quota its frames count for."""
    max_in_flight: int
    in_order: bool = True
    is_resumable: bool = False
    is_live_view: bool = False
    """A frame that waits for the one before it is superseded by the next."""
    priority: pb.Priority = pb.PRIORITY_UNSPECIFIED
    """Of frames that name none."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Connection:
    """One call that carries a stream."""

    context: Any
    opened: pb.Opened
    payload_of: Callable[[ReceivedFrame], Payload]
    """Finds the bytes of a frame, in its message or elsewhere."""


def opening_from_first(first: Any) -> pb.Open:
    """Return the Open that a stream must begin with.

    Raises:
        ProtocolViolation: It begins with something else, or asks for something
            that this server does not know.
    """
    if isinstance(first, ProtocolViolation):
        raise first
    if not isinstance(first, pb.StreamRequest) or not first.HasField("open"):
        raise StreamStateError(
            Reason.STREAM_NOT_OPEN, "the first message of a stream must be Open"
        )
    opening = first.open
    _check_known("order", opening.order, pb.Order.values())
    _check_known("priority", opening.priority, pb.Priority.values())
    return opening


def _check_known(field: str, value: int, known: list[int]) -> None:
    if value not in known:
        raise ProtocolViolation(
            Reason.MALFORMED_MESSAGE, f"{field}: this server does not know {value}"
        )
