"""What goes wrong for a client, typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import Reason
from spinert.runtime.messages import ERROR_DOMAIN

__all__ = [
    "FrameRefusal",
    "RequestFailed",
    "failure_from_rpc_error",
    "message_too_large",
    "refusal_from_frame_error",
]

_DETAILS = "grpc-status-details-bin"
# grpc.aio puts this in place of the server's status when a write comes too late.
_LOST_STATUS = "Internal error from Core"
_STATUSES = {status.value[0]: status for status in grpc.StatusCode}


class RequestFailed(Exception):
    """A call, or a whole stream, did not succeed.

    Attributes:
        reason: Stable code; a member of Reason (docs/errors.md), or empty where
            the failure came from the network and not from a SpineRT server.
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


def failure_from_rpc_error(error: grpc.aio.AioRpcError) -> RequestFailed:
    """Translate a failed call, reading google.rpc.ErrorInfo where there is one."""
    info = _error_info(tuple(error.trailing_metadata() or ()))
    message = error.details() or ""
    if info is not None:
        retry_after_ms = int(info.metadata.get("retry_after_ms", "0"))
        return RequestFailed(info.reason, message, error.code(), retry_after_ms)
    # gRPC itself refuses a message over its limit, before SpineRT sees it.
    if "larger than max" in message:
        return RequestFailed(Reason.MESSAGE_TOO_LARGE, message, error.code())
    if message == _LOST_STATUS:
        return RequestFailed(
            "",
            "the server ended the stream while a frame was being sent to it",
            grpc.StatusCode.UNAVAILABLE,
        )
    return RequestFailed("", message, error.code())


def message_too_large(size_bytes: int, limit_bytes: int) -> RequestFailed:
    """Say before sending what gRPC would say after it."""
    return RequestFailed(
        Reason.MESSAGE_TOO_LARGE,
        f"the frame makes a message of {size_bytes} bytes and {limit_bytes} are "
        "allowed: compress it losslessly, or raise server.max_message_mib and the "
        "client's max_message_mib",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )


def _error_info(metadata: Sequence[Any]) -> error_details_pb2.ErrorInfo | None:
    trailers: Mapping[str, bytes] = dict(metadata)
    if _DETAILS not in trailers:
        return None
    status = status_pb2.Status.FromString(trailers[_DETAILS])
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            return info
    return None
