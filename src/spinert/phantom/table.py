"""The truth of a data set as tables, laid out as VinDr-SpineXR lays out its own.

Nguyen et al., VinDr-SpineXR, PhysioNet 1.0.0: one row for each box, and one without a
box, "No finding", for each image without findings.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from spinert.phantom.dicom import PhantomKey, series_uid, sop_instance_uid, study_uid
from spinert.phantom.truth import (
    LESIONS,
    NO_FINDING,
    Phantom,
    Projection,
    Region,
    TrueFinding,
    Vertebra,
)

__all__ = [
    "ANNOTATION_COLUMNS",
    "VERTEBRA_COLUMNS",
    "ImageTruth",
    "LabelCount",
    "annotation_rows",
    "csv_from_rows",
    "label_counts",
    "truth_from_json",
    "truth_from_phantom",
    "vertebra_rows",
]

ANNOTATION_COLUMNS: Final = (
    "image_id",
    "study_id",
    "series_id",
    "lesion_type",
    "xmin",
    "ymin",
    "xmax",
    "ymax",
)
VERTEBRA_COLUMNS: Final = ("image_id", "level", "xmin", "ymin", "xmax", "ymax")

_PLACES: Final = 2
"""Decimals of a pixel that are written: far below what can be seen."""

Row = Sequence[object]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class ImageTruth:
    """What the tables say of one image."""

    index: int
    image_id: str
    """Its SOP Instance UID, as the official code joins images and tables by it."""
    study_id: str
    series_id: str
    region: Region
    projection: Projection
    findings: tuple[TrueFinding, ...]
    vertebrae: tuple[Vertebra, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it; `truth_from_json` reads it back."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class LabelCount:
    """How often a label occurs."""

    label: str
    """One of LESIONS, or NO_FINDING."""
    images: int
    boxes: int


def truth_from_phantom(phantom: Phantom, key: PhantomKey) -> ImageTruth:
    """Return what the tables say of `phantom`."""
    return ImageTruth(
        index=key.index,
        image_id=sop_instance_uid(key),
        study_id=study_uid(key),
        series_id=series_uid(key),
        region=phantom.region,
        projection=phantom.projection,
        findings=tuple(
            TrueFinding(label=finding.label, box=_rounded(finding.box))
            for finding in phantom.findings
        ),
        vertebrae=tuple(
            Vertebra(level=vertebra.level, box=_rounded(vertebra.box))
            for vertebra in phantom.vertebrae
        ),
    )


def truth_from_json(told: dict[str, Any]) -> ImageTruth:
    """Return what `ImageTruth.as_json` was made of.

    Raises:
        KeyError, TypeError, ValueError: It was not.
    """
    return ImageTruth(
        index=int(told["index"]),
        image_id=str(told["image_id"]),
        study_id=str(told["study_id"]),
        series_id=str(told["series_id"]),
        region=Region(told["region"]),
        projection=Projection(told["projection"]),
        findings=tuple(
            TrueFinding(label=str(entry["label"]), box=_box(entry["box"]))
            for entry in told["findings"]
        ),
        vertebrae=tuple(
            Vertebra(level=str(entry["level"]), box=_box(entry["box"]))
            for entry in told["vertebrae"]
        ),
    )


def annotation_rows(truths: Iterable[ImageTruth]) -> list[Row]:
    """Return the rows under ANNOTATION_COLUMNS, in the order given."""
    rows: list[Row] = []
    for truth in truths:
        names = (truth.image_id, truth.study_id, truth.series_id)
        rows.extend((*names, found.label, *found.box) for found in truth.findings)
        if not truth.findings:
            rows.append((*names, NO_FINDING, "", "", "", ""))
    return rows


def vertebra_rows(truths: Iterable[ImageTruth]) -> list[Row]:
    """Return the rows under VERTEBRA_COLUMNS, in the order given."""
    return [
        (truth.image_id, vertebra.level, *vertebra.box)
        for truth in truths
        for vertebra in truth.vertebrae
    ]


def csv_from_rows(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """Return a table as CSV (RFC 4180) with line feeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def label_counts(truths: Sequence[ImageTruth]) -> list[LabelCount]:
    """Return one entry for every label, NO_FINDING last."""
    boxes = Counter(found.label for truth in truths for found in truth.findings)
    images = Counter(
        label for truth in truths for label in {found.label for found in truth.findings}
    )
    normal = sum(not truth.findings for truth in truths)
    return [
        *(
            LabelCount(label=label, images=images[label], boxes=boxes[label])
            for label in LESIONS
        ),
        LabelCount(label=NO_FINDING, images=normal, boxes=0),
    ]


def _rounded(box: Box) -> Box:
    x_min, y_min, x_max, y_max = (round(float(edge), _PLACES) for edge in box)
    return x_min, y_min, x_max, y_max


def _box(edges: Sequence[float]) -> Box:
    x_min, y_min, x_max, y_max = (float(edge) for edge in edges)
    return x_min, y_min, x_max, y_max
