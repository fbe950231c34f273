"""Requests that cannot be read, as an error of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from spinert.runtime.errors import ProtocolViolation, Reason

__all__ = ["deserializer_of", "malformed"]

M = TypeVar("M", bound=Message)


def deserializer_of(kind: type[M]) -> Callable[[bytes], M | ProtocolViolation]:
    """Return what parses messages of `kind`; `Calls` refuses what it could not.

    It returns the error instead of raising it, because gRPC would send whatever a
    deserialiser raises, text and all.
    """

    def parse(message: bytes) -> M | ProtocolViolation:
        try:
            return kind.FromString(message)
        except DecodeError:
            return malformed(kind)

    return parse


def malformed(kind: type[Message]) -> ProtocolViolation:
    """Say that bytes are no message of `kind`."""
    message = kind.DESCRIPTOR
    return ProtocolViolation(
        Reason.MALFORMED_MESSAGE,
        f"not a {message.name} of package {message.file.package}: check the proto",
    )
