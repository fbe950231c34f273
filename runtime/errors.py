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
│   └── Cancelled              CANCELLED            the client withdrew the frame
├── ProtocolViolation          INVALID_ARGUMENT     the stream's rules were broken
│   ├── DuplicateFrame         ALREADY_EXISTS
│   └── StreamStateError       FAILED_PRECONDITION
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

from enum import StrEnum, unique
from typing import ClassVar

import grpc

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
    "Overloaded",
    "ProtocolViolation",
    "Reason",
    "RefusedNow",
    "SetupError",
    "SpinertError",
    "StreamStateError",
    "Unavailable",
    "UnsupportedFrame",
]


@unique
class Reason(StrEnum):
    """Stable codes, sent as google.rpc.ErrorInfo.reason; listed in docs/errors.md."""

    # MalformedFrame
    EMPTY_FRAME = "EMPTY_FRAME"
    MALFORMED_DICOM = "MALFORMED_DICOM"
    MALFORMED_RAW_IMAGE = "MALFORMED_RAW_IMAGE"
    MALFORMED_ENCODED_IMAGE = "MALFORMED_ENCODED_IMAGE"
    PIXEL_DATA_MISSING = "PIXEL_DATA_MISSING"
    PIXEL_DATA_LENGTH = "PIXEL_DATA_LENGTH"
    CONSTANT_IMAGE = "CONSTANT_IMAGE"
    # UnsupportedFrame
    MODALITY_NOT_ACCEPTED = "MODALITY_NOT_ACCEPTED"
    SOP_CLASS_NOT_ACCEPTED = "SOP_CLASS_NOT_ACCEPTED"
    TRANSFER_SYNTAX_UNSUPPORTED = "TRANSFER_SYNTAX_UNSUPPORTED"
    ENCODED_FORMAT_UNSUPPORTED = "ENCODED_FORMAT_UNSUPPORTED"
    COLOUR_IMAGE = "COLOUR_IMAGE"
    MULTI_FRAME = "MULTI_FRAME"
    FOR_PROCESSING = "FOR_PROCESSING"
    BITS_UNSUPPORTED = "BITS_UNSUPPORTED"
    # FrameTooCostly
    DIMENSIONS_OUT_OF_RANGE = "DIMENSIONS_OUT_OF_RANGE"
    DECOMPRESSION_BOMB = "DECOMPRESSION_BOMB"
    NESTING_TOO_DEEP = "NESTING_TOO_DEEP"
    TOO_MANY_ELEMENTS = "TOO_MANY_ELEMENTS"
    DECODE_MEMORY = "DECODE_MEMORY"
    DECODE_TIMEOUT = "DECODE_TIMEOUT"
    DECODER_CRASHED = "DECODER_CRASHED"
    # gRPC itself, RESOURCE_EXHAUSTED; the client names the reason
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    # RefusedNow
    QUEUE_FULL = "QUEUE_FULL"
    DEVICE_QUOTA = "DEVICE_QUOTA"
    CREDIT_EXCEEDED = "CREDIT_EXCEEDED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_READY = "NOT_READY"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    DEVICE_LOST = "DEVICE_LOST"
    CANCELLED = "CANCELLED"
    # ProtocolViolation
    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    STREAM_NOT_OPEN = "STREAM_NOT_OPEN"
    STREAM_ALREADY_OPEN = "STREAM_ALREADY_OPEN"
    RESUME_UNAVAILABLE = "RESUME_UNAVAILABLE"
    DUPLICATE_FRAME_ID = "DUPLICATE_FRAME_ID"
    SEQUENCE_NOT_INCREASING = "SEQUENCE_NOT_INCREASING"
    FIELD_TOO_LONG = "FIELD_TOO_LONG"
    # BackendError
    NETWORK_FAILED = "NETWORK_FAILED"
    NETWORK_OUTPUT_INVALID = "NETWORK_OUTPUT_INVALID"
    DEVICE_OUT_OF_MEMORY = "DEVICE_OUT_OF_MEMORY"
    # SetupError
    CONFIG_INVALID = "CONFIG_INVALID"
    BUNDLE_MISSING = "BUNDLE_MISSING"
    BUNDLE_INVALID = "BUNDLE_INVALID"
    BUNDLE_HASH_MISMATCH = "BUNDLE_HASH_MISMATCH"
    GOLDEN_SET_FAILED = "GOLDEN_SET_FAILED"
    CERTIFICATE_MISSING = "CERTIFICATE_MISSING"
    BACKEND_UNAVAILABLE = "BACKEND_UNAVAILABLE"
    ENGINE_BUILD_FAILED = "ENGINE_BUILD_FAILED"
    ENGINE_CACHE_FAILED = "ENGINE_CACHE_FAILED"
    ENGINE_UNTRUSTED = "ENGINE_UNTRUSTED"
    ADDRESS_IN_USE = "ADDRESS_IN_USE"
    # anything outside the tree
    INTERNAL = "INTERNAL"


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


class ProtocolViolation(SpinertError):
    """The client broke a rule of the protocol."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class DuplicateFrame(ProtocolViolation):
    """A frame with this id is in flight on the same stream."""

    status = grpc.StatusCode.ALREADY_EXISTS


class StreamStateError(ProtocolViolation):
    """The message is valid, but not at this point of the stream."""

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
