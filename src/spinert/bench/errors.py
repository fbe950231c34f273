"""Why something could not be measured; a slow server is no error.

BenchError
├── SubjectLost      what is measured did not start, is gone, or answers otherwise
├── LoadGenFailed    MLPerf's LoadGen ended without a result
└── ReportInvalid    a report cannot be read, or is of another kind
"""

from __future__ import annotations

__all__ = ["BenchError", "LoadGenFailed", "ReportInvalid", "SubjectLost"]


class BenchError(Exception):
    """Base of the tree; each message is one line with the way out."""


class SubjectLost(BenchError):
    """There is nothing left to measure."""


class LoadGenFailed(BenchError):
    """A scenario has no result."""


class ReportInvalid(BenchError):
    """A file is not a report that this version writes, or not one to compare with."""
