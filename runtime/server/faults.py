"""The one place where exceptions become what a client sees."""

from __future__ import annotations

import logging
import secrets
from typing import Any

import grpc

from spinert.runtime.errors import Reason, SpinertError
from spinert.runtime.messages import Refusal, refusal_from_error, status_from_refusal
from spinert.runtime.server.logs import event

__all__ = ["abort", "refusal_from_exception"]

_LOG = logging.getLogger(__name__)
_REPEATED = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
"""What clients repeat by themselves: `spinert.runtime.client.options`."""
_NEVER_MS = -1


def refusal_from_exception(error: BaseException) -> Refusal:
    """Translate any exception.

    One of our tree says itself what a client may know. Anything else is a bug:
    its type and place are logged under a reference id, and the id is all that
    leaves the server, because the text of a foreign exception may hold patient
    data.
    """
    if isinstance(error, SpinertError):
        event(_LOG, logging.DEBUG, "refused", reason=str(error.reason))
        return refusal_from_error(error)
    reference = secrets.token_hex(6)
    event(_LOG, logging.ERROR, "internal_error", error=error, reference=reference)
    return Refusal(
        status=grpc.StatusCode.INTERNAL,
        reason=str(Reason.INTERNAL),
        message=f"internal error; quote reference {reference} to the operator",
    )


async def abort(context: Any, error: BaseException) -> None:
    """End the call of `context` with the status of `error`.

    Carries google.rpc.ErrorInfo and, where a client's retry policy would repeat the
    call, grpc-retry-pushback-ms (gRFC A6): it waits exactly that long, or does not
    repeat what would be refused again.

    Raises:
        grpc.aio.AbortError: Always; it must not be caught.
    """
    refusal = refusal_from_exception(error)
    metadata: list[tuple[str, str | bytes]] = [
        ("grpc-status-details-bin", status_from_refusal(refusal).SerializeToString())
    ]
    if refusal.status in _REPEATED or refusal.retry_after_ms:
        pushback_ms = refusal.retry_after_ms or _NEVER_MS
        metadata.append(("grpc-retry-pushback-ms", str(pushback_ms)))
    await context.abort(refusal.status, refusal.message, tuple(metadata))
