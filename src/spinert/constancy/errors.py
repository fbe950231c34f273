"""Why a constancy test could not be held; a test that is not passed is no error.

ConstancyError
├── NoLimitsError        the bundle stores no limits, or those of other phantoms
├── UnstableError        too few phantoms are decided clearly enough to set limits
└── RecordError          a record cannot be kept there
"""

from __future__ import annotations

__all__ = ["ConstancyError", "NoLimitsError", "RecordError", "UnstableError"]


class ConstancyError(Exception):
    """Base of the tree; each message is one line with the way out."""


class NoLimitsError(ConstancyError):
    """There is nothing to hold the answers against."""


class UnstableError(ConstancyError):
    """Limits set with these answers would fail by chance."""


class RecordError(ConstancyError):
    """The folder of the records cannot be written."""
