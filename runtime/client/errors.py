"""What goes wrong for a client, typed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import Reason
from spinert.runtime.messages import ERROR_DOMAIN

__all__ = [
    "FrameRefusal",
    "RequestFailed",
    "ended_early",
    "failure_from_rpc_error",
    "message_too_large",
    "protocol_broken",
    "refusal_from_failure",
    "refusal_from_frame_error",
    "stray_answer",
]

_DETAILS = "grpc-status-details-bin"
# grpc.aio puts this in place of the server's status when a write comes too late.
_LOST_STATUS = "Internal error from Core"
_OVER_LIMIT = re.compile(
    r"(?P<answer>CLIENT: Received|SERVER: Sent)? ?message larger than max "
    r"\((?P<size>\d+) vs\. (?P<limit>\d+)\)"
)
# Of a compressed message gRPC tells no sizes.
_INFLATED_OVER_LIMIT = "message larger than max"
_STATUSES = {status.value[0]: status for status in grpc.StatusCode}


class RequestFailed(Exception):
    """A call, or a whole stream, did not succeed.

    Attributes:
        reason: Stable code; a member of Reason (docs/errors.md), or empty where
            no SpineRT server named one: the network failed, or the server.
        message: For people; says what to do.
        status: The gRPC status.
        retry_after_ms: Above 0: the same request may succeed after this long.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        status: grpc.StatusCode,
        retry_after_ms: int = 0,
    ) -> None:
        """Carry everything the server told."""
        told = f"{status.name} {reason}" if reason else status.name
        super().__init__(f"{told}: {message}")
        self.reason = reason
        self.message = message
        self.status = status
        self.retry_after_ms = retry_after_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameRefusal:
    """One frame of a stream was not served; the stream lives on."""

    frame_id: str
    sequence: int
    reason: str
    """Stable code; a member of Reason, see docs/errors.md."""
    message: str
    status: grpc.StatusCode
    retry_after_ms: int = 0
    """Above 0: the same image may be served after this long."""


def refusal_from_frame_error(error: pb.FrameError) -> FrameRefusal:
    """Translate the in-band error of a stream."""
    return FrameRefusal(
        frame_id=error.frame_id,
        sequence=error.sequence,
        reason=error.reason,
        message=error.message,
        status=_STATUSES.get(error.code, grpc.StatusCode.UNKNOWN),
        retry_after_ms=error.retry_after_ms,
    )


def refusal_from_failure(
    failure: RequestFailed, *, frame_id: str, sequence: int
) -> FrameRefusal:
    """Say of one frame what else would be said of a call."""
    return FrameRefusal(
        frame_id=frame_id,
        sequence=sequence,
        reason=failure.reason,
        message=failure.message,
        status=failure.status,
        retry_after_ms=failure.retry_after_ms,
    )


def failure_from_rpc_error(error: grpc.aio.AioRpcError) -> RequestFailed:
    """Translate a failed call, reading google.rpc.ErrorInfo where there is one."""
    info = _error_info(tuple(error.trailing_metadata() or ()))
    message = error.details() or ""
    if info is not None:
        told = info.metadata.get("retry_after_ms", "")
        retry_after_ms = int(told) if told.isdecimal() else 0
        return RequestFailed(info.reason, message, error.code(), retry_after_ms)
    # gRPC itself refuses a message over its limit, before SpineRT sees it.
    if over := _OVER_LIMIT.search(message):
        return message_too_large(
            int(over["size"]),
            int(over["limit"]),
            what="answer" if over["answer"] else "frame",
        )
    if _INFLATED_OVER_LIMIT in message:
        return RequestFailed(Reason.MESSAGE_TOO_LARGE, message, error.code())
    if message == _LOST_STATUS:
        return RequestFailed(
            "",
            "the server ended the stream while a frame was being sent to it",
            grpc.StatusCode.UNAVAILABLE,
        )
    return RequestFailed("", message, error.code())


def message_too_large(
    size_bytes: int, limit_bytes: int, *, what: Literal["frame", "answer"] = "frame"
) -> RequestFailed:
    """Say, if possible before sending, what gRPC has no way out for."""
    cure = "compress it losslessly, or raise" if what == "frame" else "raise"
    return RequestFailed(
        Reason.MESSAGE_TOO_LARGE,
        f"the {what} makes a message of {size_bytes} bytes and {limit_bytes} are "
        f"allowed: {cure} server.max_message_mib and the client's max_message_mib",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )


def protocol_broken(deed: str) -> RequestFailed:
    """Say that the server did what no server may do."""
    return RequestFailed(
        "",
        f"the server {deed}: it does not keep to the protocol of this client; use the "
        "same version on both sides",
        grpc.StatusCode.INTERNAL,
    )


def stray_answer(answer: pb.Result | FrameRefusal) -> RequestFailed:
    """Say what an answer means that belongs to no frame sent."""
    if isinstance(answer, FrameRefusal) and not answer.sequence:
        # It names no frame because the server could not read what it was sent.
        return RequestFailed(answer.reason, answer.message, answer.status)
    return protocol_broken(f"answered frame {answer.sequence}, which awaits no answer")


def ended_early() -> RequestFailed:
    """Say that a server ended a stream as if all were done."""
    return protocol_broken("ended the stream before every frame was answered")


def _error_info(metadata: Sequence[Any]) -> error_details_pb2.ErrorInfo | None:
    trailers: Mapping[str, bytes] = dict(metadata)
    if _DETAILS not in trailers:
        return None
    try:
        status = status_pb2.Status.FromString(trailers[_DETAILS])
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
                return info
    except DecodeError:
        # Not of a SpineRT server; the status itself says enough.
        return None
    return None
