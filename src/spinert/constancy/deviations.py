"""What lies outside the limits, and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum, unique

__all__ = ["Deviation", "Difference", "Kind", "deviations_from_differences"]


@unique
class Kind(StrEnum):
    """What a deviation is of; part of the records, never changes its meaning."""

    NO_ANSWER = "NO_ANSWER"
    PROBABILITY = "PROBABILITY"
    MEMBER = "MEMBER"
    DECISION = "DECISION"
    FINDING_MISSING = "FINDING_MISSING"
    FINDING_UNEXPECTED = "FINDING_UNEXPECTED"
    FINDING_SCORE = "FINDING_SCORE"
    LATENCY = "LATENCY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """One thing outside the limits."""

    kind: Kind
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A probability or score, as it was and as it is."""

    kind: Kind
    of: str
    expected: float
    found: float

    @property
    def size(self) -> float:
        """Return it without sign; of what is missing or no number, infinite."""
        size = abs(self.found - self.expected)
        return math.inf if math.isnan(size) else size


def deviations_from_differences(
    tolerance: float, differences: Iterable[Difference]
) -> Iterator[Deviation]:
    """Yield what is larger than the tolerance; what is no number is."""
    for difference in differences:
        if difference.size > tolerance:
            text = (
                f"{difference.of} is {difference.found:.4f} instead of "
                f"{difference.expected:.4f}; {tolerance:g} is allowed"
            )
            yield Deviation(kind=difference.kind, text=text)
