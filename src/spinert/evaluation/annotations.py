"""Annotated images from a table and a folder, with everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from spinert.evaluation.boxes import checked_box
from spinert.evaluation.cases import Case, LabelledBox
from spinert.evaluation.coco import table_from_coco
from spinert.evaluation.errors import AnnotationError
from spinert.evaluation.images import (
    ImageIndex,
    image_index,
    image_size,
    images_directory,
)
from spinert.evaluation.labels import Kind, Merge, meaning_of
from spinert.evaluation.problems import Problem, ProblemCode
from spinert.evaluation.table import RawRow, RawTable
from spinert.evaluation.vindr import table_from_csv

__all__ = ["Annotations", "SizeOf", "read_annotations"]

SizeOf = Callable[[Path], tuple[int, int] | None]
"""Width and height in pixels of an image file; None where they cannot be known."""

_READERS: Final[Mapping[str, Callable[[Path], RawTable]]] = MappingProxyType(
    {".csv": table_from_csv, ".json": table_from_coco}
)


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What is known about the images of one split."""

    cases: tuple[Case, ...]
    """In the order of the table; images that have both a file and a row."""
    problems: tuple[Problem, ...]
    """By row, then what belongs to no row."""
    classes: tuple[str, ...]
    rows: int
    """Of the table, without its header; COCO: entries of `annotations`."""
    merge: Merge


def read_annotations(
    table: Path,
    data: Path,
    *,
    classes: Sequence[str],
    merge: Merge = Merge.PAPER,
    split: str | None = None,
    size_of: SizeOf = image_size,
) -> Annotations:
    """Read a table (.csv: VinDr-SpineXR, .json: COCO) and find its images.

    Nothing is dropped silently: see `ProblemCode` for what is reported and what is
    then done. An image is abnormal as soon as one row names a lesion, also one whose
    label or box is of no use. Identical rows count once.

    Args:
        table: The annotations.
        data: Images, or the folder that holds `{split}_images`.
        classes: Of the bundle, in its order.
        merge: How the 13 findings of the data set become `classes`.
        split: Such as "test"; None: `data` holds the images itself.
        size_of: Asked once for each image with boxes.

    Raises:
        AnnotationError: The table is no such file, or has no row of any image.
        DataError: There is no folder of images, or none in it.
    """
    reader = _READERS.get(table.suffix.lower())
    if reader is None:
        raise AnnotationError(
            f"{table} is neither .csv (VinDr-SpineXR) nor .json (COCO)"
        )
    raw = reader(table)
    index = image_index(images_directory(data, split))
    reading = _Reading(
        raw=raw, index=index, classes=tuple(classes), merge=merge, size_of=size_of
    )
    cases = reading.cases()
    if not cases:
        raise AnnotationError(
            f"none of the images that {table} names is in {index.directory}; "
            "check that table, folder and split belong together"
        )
    problems = [*raw.problems, *reading.problems, *index.problems]
    problems += _of_the_split(cases, classes)
    last = max((p.row for p in problems if p.row is not None), default=0) + 1
    problems.sort(key=lambda p: last if p.row is None else p.row)
    return Annotations(
        cases=tuple(cases),
        problems=tuple(problems),
        classes=tuple(classes),
        rows=len(raw.rows),
        merge=merge,
    )


def _of_the_split(cases: Sequence[Case], classes: Sequence[str]) -> list[Problem]:
    present = {box.label for case in cases for box in case.boxes}
    problems = [
        _problem(None, None, ProblemCode.EMPTY_CLASS, f"no box of {name}: AP undefined")
        for name in classes
        if name not in present
    ]
    if len(kinds := {case.abnormal for case in cases}) == 1:
        kind = "abnormal" if kinds.pop() else "normal"
        text = f"every image is {kind}: AUROC and Youden's threshold are undefined"
        problems.append(_problem(None, None, ProblemCode.ONE_CLASS_SPLIT, text))
    return problems


def _problem(
    row: int | None, image_id: str | None, code: ProblemCode, text: str
) -> Problem:
    return Problem(row=row, image_id=image_id, code=code, text=text)


@dataclass(kw_only=True)
class _Reading:
    """A table on its way to cases."""

    raw: RawTable
    index: ImageIndex
    classes: tuple[str, ...]
    merge: Merge
    size_of: SizeOf
    problems: list[Problem] = field(default_factory=list)

    def cases(self) -> list[Case]:
        """Return the images that have a file and a row."""
        found = {}
        for image_id, rows in self._rows_by_image().items():
            if image_id in self.index.paths:
                found[image_id] = self._case(image_id, rows)
                continue
            text = f"no file of this name in {self.index.directory}: not used"
            for line in [row.row for row in rows] or (None,):
                self._report(line, image_id, ProblemCode.ROW_WITHOUT_IMAGE, text)
        for image_id in self.index.paths:
            if image_id not in found:
                text = "an image without a row: not evaluated"
                self._report(None, image_id, ProblemCode.IMAGE_WITHOUT_ROWS, text)
        return list(found.values())

    def _rows_by_image(self) -> dict[str, list[RawRow]]:
        grouped: dict[str, list[RawRow]] = {name: [] for name in self.raw.images}
        seen = set()
        for row in self.raw.rows:
            said = row.image_id, row.label, row.corners
            if not row.image_id:
                text = "the identifier of the image is empty: not used"
                self._report(row.row, None, ProblemCode.EMPTY_IMAGE_ID, text)
            elif said in seen:
                text = "says the same as an earlier row: counted once"
                self._report(row.row, row.image_id, ProblemCode.DUPLICATE_ROW, text)
            else:
                seen.add(said)
                grouped.setdefault(row.image_id, []).append(row)
        return grouped

    def _case(self, image_id: str, rows: Sequence[RawRow]) -> Case:
        path = self.index.paths[image_id]
        normal = [row for row in rows if self._says_normal(row)]
        lesions = [row for row in rows if not self._says_normal(row)]
        self._report_normal(normal, bool(lesions))
        size = self._size(path, image_id) if any(r.corners for r in lesions) else None
        boxes = [self._box(row, size) for row in lesions]
        is_outvoted = self.merge is Merge.OFFICIAL and bool(normal)
        return Case(
            image_id=image_id,
            path=path,
            abnormal=bool(lesions) and not is_outvoted,
            boxes=tuple(box for box in boxes if box is not None),
        )

    def _says_normal(self, row: RawRow) -> bool:
        meaning = meaning_of(row.label, self.classes, self.merge)
        return meaning.kind is Kind.NO_FINDING

    def _report_normal(self, rows: Iterable[RawRow], has_lesion: bool) -> None:
        verdict = "abnormal" if self.merge is Merge.PAPER else "normal"
        for row in rows:
            if has_lesion:
                text = f'"No finding" beside a lesion: the image counts as {verdict}'
                self._report(row.row, row.image_id, ProblemCode.CONTRADICTION, text)
            if row.corners is not None:
                text = '"No finding" with a box: the box is ignored'
                self._report(row.row, row.image_id, ProblemCode.BOX_ON_NO_FINDING, text)

    def _size(self, path: Path, image_id: str) -> tuple[int, int] | None:
        measured, stated = self.size_of(path), self.raw.sizes.get(image_id)
        if measured is None:
            text = "its size cannot be read: boxes are not checked against its edges"
            self._report(None, image_id, ProblemCode.SIZE_UNKNOWN, text)
        elif stated not in (None, measured):
            text = (
                f"the table says {stated[0]} x {stated[1]}, the file "
                f"{measured[0]} x {measured[1]}: boxes may be in other pixels"
            )
            self._report(None, image_id, ProblemCode.SIZE_MISMATCH, text)
        return measured

    def _box(self, row: RawRow, size: tuple[int, int] | None) -> LabelledBox | None:
        meaning = meaning_of(row.label, self.classes, self.merge)
        if meaning.kind is not Kind.CLASS:
            code, text = ProblemCode.UNKNOWN_LABEL, f"unknown label {row.label[:40]!r}"
            if meaning.kind is Kind.NOT_EVALUATED:
                code, text = ProblemCode.NOT_EVALUATED, f"no class for {row.label}"
            text += ": abnormal, but no box is evaluated"
            self._report(row.row, row.image_id, code, text)
            return None
        checked = checked_box(row, size)
        if checked.code is not None:
            self._report(row.row, row.image_id, checked.code, checked.text)
        if checked.box is None:
            return None
        return LabelledBox(label=meaning.name, box=checked.box)

    def _report(
        self, row: int | None, image_id: str | None, code: ProblemCode, text: str
    ) -> None:
        self.problems.append(_problem(row, image_id, code, text))
