"""Tell a usable box from one that is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spinert.evaluation.cases import Box
from spinert.evaluation.problems import ProblemCode
from spinert.evaluation.table import RawRow

__all__ = ["CheckedBox", "checked_box"]

# The official `dataset_dict.py` removes boxes below it.
_MIN_EDGE_PX: Final = 1e-3


@dataclass(frozen=True, kw_only=True)
class CheckedBox:
    """The box to use, if any, and what is wrong with it, if anything is."""

    box: Box | None
    code: ProblemCode | None = None
    text: str = ""


def checked_box(row: RawRow, size: tuple[int, int] | None) -> CheckedBox:
    """Check the box of a lesion.

    Args:
        row: The lesion.
        size: Width and height of the image in pixels; None: edges are not checked.
    """
    if row.is_crowd:
        return _refused(ProblemCode.CROWD, "a crowd is not one lesion")
    if row.corners is None:
        return _refused(ProblemCode.MISSING_BOX, "a lesion without a box")
    xmin, ymin, xmax, ymax = row.corners
    if xmin is None or ymin is None or xmax is None or ymax is None:
        text = "a coordinate is missing or not a finite number"
        return _refused(ProblemCode.BAD_NUMBER, text)
    box = xmin, ymin, xmax, ymax
    if xmax < xmin or ymax < ymin:
        text = f"the box {_shown(box)} ends before it begins"
        return _refused(ProblemCode.INVERTED_BOX, text)
    if min(xmax - xmin, ymax - ymin) < _MIN_EDGE_PX:
        text = f"the box {_shown(box)} has no area"
        return _refused(ProblemCode.EMPTY_BOX, text)
    return CheckedBox(box=box) if size is None else _clipped(box, size)


def _clipped(box: Box, size: tuple[int, int]) -> CheckedBox:
    width, height = size
    xmin, ymin, xmax, ymax = box
    inside = max(xmin, 0.0), max(ymin, 0.0), min(xmax, width), min(ymax, height)
    if inside == box:
        return CheckedBox(box=box)
    where = f"the box {_shown(box)} in an image of {width} x {height}"
    if min(inside[2] - inside[0], inside[3] - inside[1]) < _MIN_EDGE_PX:
        return _refused(ProblemCode.BOX_OUTSIDE, f"{where} lies outside")
    text = f"{where} is cut at the edge"
    return CheckedBox(box=inside, code=ProblemCode.BOX_CLIPPED, text=text)


def _refused(code: ProblemCode, text: str) -> CheckedBox:
    return CheckedBox(box=None, code=code, text=f"{text}: no box is evaluated")


def _shown(box: Box) -> str:
    return "({})".format(", ".join(f"{value:g}" for value in box))
