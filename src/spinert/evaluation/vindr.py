"""Read the annotation tables of VinDr-SpineXR."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

from spinert.evaluation.errors import AnnotationError
from spinert.evaluation.problems import Problem, ProblemCode
from spinert.evaluation.table import Corners, RawRow, RawTable

__all__ = ["table_from_csv"]

_BOX: Final = ("xmin", "ymin", "xmax", "ymax")
_REQUIRED: Final = ("image_id", "study_id", "lesion_type", *_BOX)
_OPTIONAL: Final = ("series_id", "rad_id")


def table_from_csv(path: Path) -> RawTable:
    """Read a table of VinDr-SpineXR 1.0.0, `annotations/{train,test}.csv`.

    Columns image_id, study_id, lesion_type, xmin, ymin, xmax, ymax, and perhaps
    series_id and rad_id, in any order. Box columns are empty (or "nan") in rows
    without a box. Study, series and reader are not kept.

    Raises:
        AnnotationError: No CSV file with these columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _table(file, path)
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path} is not UTF-8 text; save it as UTF-8") from error


def _table(file: TextIO, path: Path) -> RawTable:
    reader = csv.reader(file, strict=True)
    rows, problems = [], []
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, path)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                problems.append(_bad_row(reader.line_num, len(cells), len(header)))
                continue
            rows.append(_row(reader.line_num, header, cells))
    except csv.Error as error:
        raise AnnotationError(
            f"{path}, line {reader.line_num}: not CSV; look for a stray quote or NUL"
        ) from error
    return RawTable(rows=tuple(rows), problems=tuple(problems))


def _check_header(header: Sequence[str], path: Path) -> None:
    expected = ", ".join(_REQUIRED)
    if missing := [name for name in _REQUIRED if name not in header]:
        raise AnnotationError(
            f"{path} has no column {missing[0]}; VinDr-SpineXR's are {expected}"
        )
    if unknown := [name for name in header if name not in (*_REQUIRED, *_OPTIONAL)]:
        raise AnnotationError(
            f"{path} has a column {unknown[0]!r} that is not known; remove it, or "
            f"rename it to one of {expected}"
        )
    if len(set(header)) < len(header):
        raise AnnotationError(f"{path} has a column twice; keep one of them")


def _bad_row(line: int, found: int, expected: int) -> Problem:
    text = f"{found} cells instead of {expected}: not used"
    return Problem(row=line, image_id=None, code=ProblemCode.BAD_ROW, text=text)


def _row(line: int, header: Sequence[str], cells: Sequence[str]) -> RawRow:
    values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
    return RawRow(
        row=line,
        image_id=values["image_id"],
        label=values["lesion_type"],
        corners=_corners([values[name] for name in _BOX]),
    )


def _corners(cells: Sequence[str]) -> Corners | None:
    if all(cell.lower() in ("", "nan") for cell in cells):
        return None
    xmin, ymin, xmax, ymax = map(_number, cells)
    return xmin, ymin, xmax, ymax


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
