"""Every error a caller can see: its gRPC status and its stable reason code.

SpinertError                   INTERNAL
├── FrameRefused               INVALID_ARGUMENT     this frame can never be served
│   ├── MalformedFrame                              cannot be read as what it claims
│   ├── UnsupportedFrame                            readable, but outside the policy
│   └── FrameTooCostly                              would take too much memory or time
├── Refused now                                     the same frame may be served later
│   ├── Overloaded             RESOURCE_EXHAUSTED   queue or quota full: back off
│   ├── DeadlineExceeded       DEADLINE_EXCEEDED    too late to be of use
│   ├── Unavailable            UNAVAILABLE          starting, draining, recovering
│   │   └── DeviceLost                              the accelerator died under it
│   ├── Cancelled              CANCELLED            the client withdrew the frame
│   └── Superseded             ABORTED              a newer frame of a live view came
├── ProtocolViolation          INVALID_ARGUMENT     the stream's rules were broken
│   ├── DuplicateFrame         ALREADY_EXISTS
│   ├── StreamStateError       FAILED_PRECONDITION
│   ├── RegionRefused          FAILED_PRECONDITION  shared memory cannot be used so
│   │   └── RegionTaken        ALREADY_EXISTS
│   ├── ModelUnknown           NOT_FOUND
│   └── ModelControlRefused    FAILED_PRECONDITION  loading and unloading is off
├── BackendError               INTERNAL             a network failed on a valid batch
└── SetupError                 FAILED_PRECONDITION  configuration or bundle is unusable
    ├── ConfigError
    ├── BundleError
    └── BackendUnavailable

A reason is a `Reason` member: its value goes over the wire and never changes
its meaning. A message tells people what to do next; it holds no pixel, no
patient attribute and no text of a foreign exception. Anything outside this
tree is a bug and reaches the client as INTERNAL with a reference id.
"""

from __future__ import annotations

from typing import ClassVar

import grpc

from spinert.runtime.reasons import Reason

__all__ = [
    "BackendError",
    "BackendUnavailable",
    "BundleError",
    "Cancelled",
    "ConfigError",
    "DeadlineExceeded",
    "DeviceLost",
    "DuplicateFrame",
    "FrameRefused",
    "FrameTooCostly",
    "MalformedFrame",
    "ModelControlRefused",
    "ModelUnknown",
    "Overloaded",
    "ProtocolViolation",
    "Reason",
    "RefusedNow",
    "RegionRefused",
    "RegionTaken",
    "SetupError",
    "SpinertError",
    "StreamStateError",
    "Superseded",
    "Unavailable",
    "UnsupportedFrame",
]


class SpinertError(Exception):
    """Base of the tree."""

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    """What the server answers with."""

    retry_after_ms: int = 0
    """Above 0: the same request may succeed after this long."""

    def __init__(self, reason: Reason, message: str) -> None:
        """Carry a stable `reason` and a `message` for people."""
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[SpinertError], tuple[Reason, str]]:
        """Survive the pickling between a decode worker and its parent."""
        return type(self), (self.reason, self.message)


class FrameRefused(SpinertError):
    """The frame itself is at fault; sending it again is pointless."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class MalformedFrame(FrameRefused):
    """The bytes are not what they claim to be."""


class UnsupportedFrame(FrameRefused):
    """A valid image of a kind this server does not analyse."""


class FrameTooCostly(FrameRefused):
    """Decoding would exceed the memory, time or size allowed to one frame."""


class RefusedNow(SpinertError):
    """The frame is fine; this moment is not."""


class Overloaded(RefusedNow):
    """A queue or quota is full; the client should back off and retry."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED
    retry_after_ms = 100


class DeadlineExceeded(RefusedNow):
    """The answer would come too late to be of use."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED


class Unavailable(RefusedNow):
    """The server is starting, draining or recovering."""

    status = grpc.StatusCode.UNAVAILABLE
    retry_after_ms = 1000


class DeviceLost(Unavailable):
    """The accelerator failed for good in this process; only a restart helps."""


class Cancelled(RefusedNow):
    """The client withdrew the frame before its answer was ready."""

    status = grpc.StatusCode.CANCELLED


class Superseded(RefusedNow):
    """The next frame of a live view came while this one waited for its turn."""

    status = grpc.StatusCode.ABORTED


class ProtocolViolation(SpinertError):
    """The client broke a rule of the protocol."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class DuplicateFrame(ProtocolViolation):
    """A frame with this id is in flight on the same stream."""

    status = grpc.StatusCode.ALREADY_EXISTS


class StreamStateError(ProtocolViolation):
    """The message is valid, but not at this point of the stream."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class RegionRefused(ProtocolViolation):
    """Shared memory cannot be used in the way that was asked for."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class RegionTaken(RegionRefused):
    """A region of this name is registered."""

    status = grpc.StatusCode.ALREADY_EXISTS


class ModelUnknown(ProtocolViolation):
    """There is no model of this name and version."""

    status = grpc.StatusCode.NOT_FOUND


class ModelControlRefused(ProtocolViolation):
    """Clients may not load and unload models, or not in this way."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class BackendError(SpinertError):
    """A network failed on a valid batch."""


class SetupError(SpinertError):
    """The server cannot start as configured."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class ConfigError(SetupError):
    """A setting is unknown, contradictory or out of range."""


class BundleError(SetupError):
    """The bundle is missing, damaged or fails its golden set."""


class BackendUnavailable(SetupError):
    """The configured backend cannot serve; another is never taken silently."""
