"""Every error of the phantom; each message is one line with the way out.

PhantomError
├── DestinationError   the images cannot be written there
└── CompressionError   the pixels cannot be compressed as asked
"""

from __future__ import annotations

__all__ = ["CompressionError", "DestinationError", "PhantomError"]


class PhantomError(Exception):
    """Base of the tree."""


class DestinationError(PhantomError):
    """A directory holds something else, or cannot be written."""


class CompressionError(PhantomError):
    """An encoder is missing or not known."""
