"""What a request is refused with, wherever its fault is found."""

from __future__ import annotations

from spinert.runtime.errors import ProtocolViolation, Reason

__all__ = ["parameter_invalid", "tensor_invalid"]


def parameter_invalid(message: str) -> ProtocolViolation:
    """Say what is wrong with a parameter."""
    return ProtocolViolation(Reason.PARAMETER_INVALID, message)


def tensor_invalid(message: str) -> ProtocolViolation:
    """Say what is wrong with a tensor, asked for or given."""
    return ProtocolViolation(Reason.TENSOR_INVALID, message)
