"""Why a frame cannot come in now: a pure function of what is in flight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from spinert.runtime.config import EngineSettings
from spinert.runtime.engine.outlook import Prospect
from spinert.runtime.errors import (
    DeadlineExceeded,
    Overloaded,
    Reason,
    RefusedNow,
    Unavailable,
)
from spinert.runtime.frame import FrameRequest, size_of

__all__ = ["Load", "payload_bytes", "refusal", "shutting_down", "too_late"]

_MIN_RETRY_MS: Final = 20
_MAX_RETRY_MS: Final = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What is in flight when a frame asks to come in."""

    frames: int
    device_frames: int
    payload_bytes: int
    interval_s: float
    """Recent time between two frames leaving; 0 while unknown."""
    devices: int = 1
    """That have sent lately, this one among them."""
    prospect: Prospect | None = None
    """Of the frame; None: it has no deadline."""


def payload_bytes(request: FrameRequest) -> int:
    """Return the size of a frame as it arrived."""
    return size_of(request.content.data)


def refusal(
    load: Load, request: FrameRequest, limits: EngineSettings, now_s: float
) -> RefusedNow | None:
    """Return why `request` cannot come in now, or None.

    An Overloaded one says when to come back: after the time in which half of what
    is in flight will have left, so that refused clients do not all return at once
    to a single free place; or once so much has left that the deadline can be met.
    """
    if request.deadline_s is not None and request.deadline_s <= now_s:
        return too_late()
    error = _full(load, request, limits) or _over_share(load, limits)
    if error is not None:
        retry_ms = math.ceil(load.interval_s * 1000 * max(1, load.frames / 2))
        if retry_ms:
            error.retry_after_ms = _bounded_ms(retry_ms)
        return error
    if request.deadline_s is None or load.prospect is None:
        return None
    return _unreachable(load.prospect, request.deadline_s, now_s)


def _full(
    load: Load, request: FrameRequest, limits: EngineSettings
) -> Overloaded | None:
    size = payload_bytes(request)
    if load.frames >= limits.max_frames:
        return Overloaded(
            Reason.QUEUE_FULL, f"{load.frames} frames are in flight; retry later"
        )
    if load.frames and load.payload_bytes + size > limits.max_queue_mib * 2**20:
        return Overloaded(
            Reason.QUEUE_FULL,
            f"frames in flight fill {limits.max_queue_mib} MiB; retry later",
        )
    if load.device_frames >= limits.max_frames_per_device:
        return Overloaded(
            Reason.DEVICE_QUOTA,
            f"this device has {load.device_frames} frames in flight; wait for answers",
        )
    return None


def _over_share(load: Load, limits: EngineSettings) -> Overloaded | None:
    """Keep a device to its share of the places once three quarters are taken.

    With a deadline there are only as many places as can be served before it.
    """
    left, taken = limits.max_frames - load.frames, load.frames
    if load.prospect is not None and 0 < load.prospect.places < left:
        left, taken = load.prospect.places, load.prospect.waiting
    share = max(1, math.ceil((load.frames + left) / load.devices))
    if taken < 3 * left or load.device_frames < share:
        return None
    return Overloaded(
        Reason.DEVICE_QUOTA,
        f"this device has {load.device_frames} frames in flight, its share of a busy "
        "server; wait for answers",
    )


def _unreachable(
    expected: Prospect, deadline_s: float, now_s: float
) -> Overloaded | None:
    late_s = expected.finish_s - deadline_s
    if late_s <= 0 and not expected.overtakes:
        return None
    if now_s + expected.alone_s > deadline_s:
        error = Overloaded(
            Reason.DEADLINE_UNREACHABLE,
            f"a frame takes {expected.alone_s * 1000:.0f} ms here; allow more time",
        )
        error.retry_after_ms = 0
        return error
    error = Overloaded(
        Reason.DEADLINE_UNREACHABLE,
        "what is in flight leaves no time for this frame before its deadline; "
        "retry later, or allow more time",
    )
    error.retry_after_ms = _bounded_ms(math.ceil(max(0.0, late_s) * 1000))
    return error


def _bounded_ms(retry_ms: int) -> int:
    return min(max(retry_ms, _MIN_RETRY_MS), _MAX_RETRY_MS)


def too_late() -> DeadlineExceeded:
    """Say that the deadline has come, whatever the frame was waiting for."""
    return DeadlineExceeded(
        Reason.DEADLINE_EXCEEDED,
        "the frame's deadline came before its answer; allow more time or send less",
    )


def shutting_down() -> Unavailable:
    """Say that this server answers no more frames."""
    return Unavailable(
        Reason.SHUTTING_DOWN, "the server is shutting down; use another or retry later"
    )
