"""Read annotations in COCO's layout for object detection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from spinert.evaluation.errors import AnnotationError
from spinert.evaluation.problems import Problem, ProblemCode
from spinert.evaluation.table import Corners, RawRow, RawTable

__all__ = ["table_from_coco"]

Entry = Mapping[str, Any]

_LARGEST: Final = 1e9


@dataclass
class _Draft:
    """A table while it is read."""

    ids: dict[Any, str] = field(default_factory=dict)
    """Image identifiers by the file's numbers."""
    names: set[str] = field(default_factory=set)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    rows: list[RawRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def report(
        self, row: int, image_id: str | None, code: ProblemCode, text: str
    ) -> None:
        self.problems.append(Problem(row=row, image_id=image_id, code=code, text=text))


def table_from_coco(path: Path) -> RawTable:
    """Read `images`, `annotations` and `categories` of a COCO "instances" file.

    An image is known by the name of its file without folder and suffix. One without
    annotations is normal. Boxes are x, y, width, height in pixels. A row is the
    position in `annotations` (or in `images`, where the problem says so), from 1.

    Raises:
        AnnotationError: No JSON file of this layout.
    """
    content = _content(path)
    labels = {
        entry["id"]: str(entry["name"])
        for entry in _entries(content, "categories", ("id", "name"), path)
    }
    draft = _Draft()
    images = _entries(content, "images", ("id", "file_name"), path)
    for row, entry in enumerate(images, start=1):
        _add_image(draft, row, entry)
    annotations = _entries(content, "annotations", ("image_id", "category_id"), path)
    for row, entry in enumerate(annotations, start=1):
        _add_row(draft, row, entry, labels)
    return RawTable(
        rows=tuple(draft.rows),
        problems=tuple(draft.problems),
        images=tuple(draft.ids.values()),
        sizes=draft.sizes,
    )


def _content(path: Path) -> Entry:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path} is not JSON") from error
    if not isinstance(content, dict):
        raise AnnotationError(f"{path} is not a COCO file: no object at its top")
    return content


def _entries(content: Entry, part: str, keys: Sequence[str], path: Path) -> list[Entry]:
    """Return a list of the file whose entries have hashable values under `keys`."""
    entries = content.get(part)
    if not isinstance(entries, list):
        raise AnnotationError(f"{path} is not a COCO file: no list {part!r}")
    for row, entry in enumerate(entries, start=1):
        values = entry if isinstance(entry, dict) else {}
        for key in keys:
            if not isinstance(values.get(key), int | str):
                raise AnnotationError(
                    f"{path}: entry {row} of {part!r} has no usable {key!r}"
                )
    return entries


def _add_image(draft: _Draft, row: int, entry: Entry) -> None:
    name = str(entry["file_name"]).replace("\\", "/")
    image_id = PurePosixPath(name).stem
    if entry["id"] in draft.ids or image_id in draft.names:
        text = "in 'images': number or file name comes twice: not used"
        draft.report(row, image_id, ProblemCode.DUPLICATE_IMAGE, text)
        return
    draft.ids[entry["id"]] = image_id
    draft.names.add(image_id)
    width, height = entry.get("width"), entry.get("height")
    if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0:
        draft.sizes[image_id] = width, height


def _add_row(draft: _Draft, row: int, entry: Entry, labels: Mapping[Any, str]) -> None:
    image_id = draft.ids.get(entry["image_id"])
    if image_id is None:
        text = f"image number {entry['image_id']!r} is not in 'images': not used"
        draft.report(row, None, ProblemCode.ROW_WITHOUT_IMAGE, text)
        return
    draft.rows.append(
        RawRow(
            row=row,
            image_id=image_id,
            # A category that is not listed has no name: an unknown label.
            label=labels.get(entry["category_id"], ""),
            corners=_corners(entry.get("bbox")),
            is_crowd=bool(entry.get("iscrowd")),
        )
    )


def _corners(bbox: Any) -> Corners | None:
    if bbox is None or bbox == []:
        return None
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_number, bbox)):
        return None, None, None, None
    x, y, width, height = map(float, bbox)
    return x, y, x + width, y + height


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Also false for NaN and for what no image can hold.
    return -_LARGEST < value < _LARGEST
