"""Average precision of detector and whole framework: the paper's Tables 4 and 5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spinert.evaluation.bootstrap import (
    Bootstrap,
    Estimate,
    estimate_of,
    resample_counts,
)
from spinert.evaluation.cases import Box
from spinert.evaluation.matching import IOUS, MAX_DETECTIONS, ClassMatches, matches_of
from spinert.evaluation.pairs import Pairs
from spinert.evaluation.precision import (
    AT_50,
    average_precisions,
    mean_over_classes,
)

__all__ = ["ClassAp", "DetectionTable", "detection_table", "resampled_maps"]

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ClassAp:
    """One class; AP in [0, 1], None where no lesion of it is annotated."""

    label: str
    lesions: int
    ap50: float | None
    """At IoU 0.5: the columns of the paper's Table 5."""
    ap20_50: float | None
    """Mean over IoU 0.2, 0.25 ... 0.5: "AP" of the official code, the columns of
    the paper's Table 4 by the look of their averages."""


@dataclass(frozen=True, kw_only=True)
class DetectionTable:
    """All classes; means leave out classes without lesions."""

    name: str
    classes: tuple[ClassAp, ...]
    map50: Estimate
    map20_50: float | None
    findings: int
    """That were evaluated."""


def detection_table(
    pairs: Pairs,
    classes: Sequence[str],
    *,
    name: str,
    kept_only: bool,
    bootstrap: Bootstrap | None = None,
) -> DetectionTable:
    """Measure with pycocotools: 101 recalls, at most 100 findings an image and class.

    Args:
        pairs: N images.
        classes: Of the bundle.
        name: Of the table's row, for example "Detector only".
        kept_only: The whole framework: without what fusion suppressed. False: all
            findings of the detector.
        bootstrap: For the interval of mAP@0.5; None: no interval.
    """
    precision = _precision(pairs, classes, kept_only)
    rows = tuple(
        ClassAp(
            label=label,
            lesions=sum(b.label == label for case in pairs.cases for b in case.boxes),
            ap50=_mean(precision[AT_50, :, index]),
            ap20_50=_mean(precision[:, :, index]),
        )
        for index, label in enumerate(classes)
    )
    value = _mean(precision[AT_50])
    map50 = Estimate(value=value, reason="" if value is not None else _NO_LESION)
    if value is not None and bootstrap is not None:
        matches = matches_of(pairs, classes, kept_only=kept_only)
        draws = np.concatenate(list(resampled_maps([matches], len(pairs), bootstrap)))
        map50 = estimate_of(value, draws[:, 0], bootstrap)
    known = frozenset(classes)
    return DetectionTable(
        name=name,
        classes=rows,
        map50=map50,
        map20_50=_mean(precision),
        findings=sum(
            box.label in known and (box.kept or not kept_only)
            for prediction in pairs.predictions
            for box in prediction.boxes
        ),
    )


_NO_LESION = "no lesion of any class is annotated"


def resampled_maps(
    rivals: Sequence[Sequence[ClassMatches]], images: int, bootstrap: Bootstrap
) -> Iterator[Values]:
    """Yield mAP@0.5 of R rivals on the same resamples of images, [B, R] by chunks."""
    for counts in resample_counts(images, bootstrap):
        yield np.stack(
            [
                mean_over_classes([average_precisions(m, counts) for m in matches])
                for matches in rivals
            ],
            axis=1,
        )


def _mean(precision: Values) -> float | None:
    """Return the mean of what is defined; COCOeval marks the rest by -1."""
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else None


def _precision(pairs: Pairs, classes: Sequence[str], kept_only: bool) -> Values:
    """Return COCOeval's precision, [IoU, recall, class]."""
    numbers = {label: number for number, label in enumerate(classes, start=1)}
    lesions = [
        (image, numbers[box.label], box.box, 1.0)
        for image, case in enumerate(pairs.cases, start=1)
        for box in case.boxes
        if box.label in numbers
    ]
    findings = [
        (image, numbers[box.label], box.box, box.score)
        for image, prediction in enumerate(pairs.predictions, start=1)
        for box in prediction.boxes
        if box.label in numbers and (box.kept or not kept_only)
    ]
    # Both classes of pycocotools talk on stdout.
    with redirect_stdout(StringIO()):
        evaluation = COCOeval(
            _coco(lesions, len(pairs), numbers),
            _coco(findings, len(pairs), numbers),
            "bbox",
        )
        evaluation.params.iouThrs = np.array(IOUS)
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.params.areaRng = [[0, np.inf]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision: Values = evaluation.eval["precision"][..., 0, 0]
    return precision


def _coco(
    boxes: Sequence[tuple[int, int, Box, float]], images: int, numbers: dict[str, int]
) -> Any:
    """Return boxes (image, class, corners, score) as a COCO data set."""
    annotations = []
    for number, (image, label, (xmin, ymin, xmax, ymax), score) in enumerate(
        boxes, start=1
    ):
        width, height = xmax - xmin, ymax - ymin
        annotations.append(
            {
                "id": number,
                "image_id": image,
                "category_id": label,
                "bbox": [xmin, ymin, width, height],
                "area": width * height,
                "iscrowd": 0,
                "score": score,
            }
        )
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(1, images + 1)],
        "categories": [{"id": n, "name": name} for name, n in numbers.items()],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco
