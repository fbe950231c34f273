"""What is wrong with annotations: reported by row, counted, never dropped silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, unique

__all__ = ["Problem", "ProblemCode", "counts_of"]


@unique
class ProblemCode(StrEnum):
    """Stable codes; the comment says what is done with the row or image."""

    # The row is not used.
    BAD_ROW = "BAD_ROW"
    EMPTY_IMAGE_ID = "EMPTY_IMAGE_ID"
    ROW_WITHOUT_IMAGE = "ROW_WITHOUT_IMAGE"
    DUPLICATE_ROW = "DUPLICATE_ROW"
    # The image counts as abnormal, but the row adds no box.
    UNKNOWN_LABEL = "UNKNOWN_LABEL"
    NOT_EVALUATED = "NOT_EVALUATED"
    MISSING_BOX = "MISSING_BOX"
    BAD_NUMBER = "BAD_NUMBER"
    INVERTED_BOX = "INVERTED_BOX"
    EMPTY_BOX = "EMPTY_BOX"
    BOX_OUTSIDE = "BOX_OUTSIDE"
    CROWD = "CROWD"
    # The box is cut at the edge of the image.
    BOX_CLIPPED = "BOX_CLIPPED"
    # The box is ignored: the row says that there is no lesion.
    BOX_ON_NO_FINDING = "BOX_ON_NO_FINDING"
    # "No finding" beside a lesion: see `Merge`.
    CONTRADICTION = "CONTRADICTION"
    # The boxes of the image are used as they are.
    SIZE_UNKNOWN = "SIZE_UNKNOWN"
    SIZE_MISMATCH = "SIZE_MISMATCH"
    # The file is not evaluated.
    IMAGE_WITHOUT_ROWS = "IMAGE_WITHOUT_ROWS"
    DUPLICATE_IMAGE = "DUPLICATE_IMAGE"
    # Figures that need what is missing are undefined.
    EMPTY_CLASS = "EMPTY_CLASS"
    ONE_CLASS_SPLIT = "ONE_CLASS_SPLIT"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong, and what was done about it."""

    row: int | None
    """Line of a CSV table, counted from 1 with the header as line 1; position in
    the list of a COCO file, counted from 1. None: not of one row."""
    image_id: str | None
    """As the table or the file name gives it; None: not of one image."""
    code: ProblemCode
    text: str


def counts_of(problems: Iterable[Problem]) -> dict[ProblemCode, int]:
    """Return how often each code occurs, in the order of `ProblemCode`."""
    counts = Counter(problem.code for problem in problems)
    return {code: counts[code] for code in ProblemCode if counts[code]}
