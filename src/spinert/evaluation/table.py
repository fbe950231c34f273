"""What a file of annotations says, before anything of it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spinert.evaluation.problems import Problem

__all__ = ["Corners", "RawRow", "RawTable"]

Corners = tuple[float | None, float | None, float | None, float | None]
"""xmin, ymin, xmax, ymax in pixels; None: not a finite number."""


@dataclass(frozen=True, kw_only=True)
class RawRow:
    """One lesion, or the statement that there is none."""

    row: int
    image_id: str
    label: str
    corners: Corners | None
    """None: no box is given."""
    is_crowd: bool = False
    """The box holds several lesions (COCO's iscrowd)."""


@dataclass(frozen=True, kw_only=True)
class RawTable:
    """All rows of a file, and the images it lists apart from them."""

    rows: tuple[RawRow, ...]
    problems: tuple[Problem, ...] = ()
    images: tuple[str, ...] = ()
    """Annotated images by identifier, also those without a row: normal ones."""
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Width and height in pixels, where the file says them."""
