"""Average precision out of matches, also of resampled images and subsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinert.evaluation.matching import IOUS, ClassMatches

__all__ = ["AT_50", "average_precision", "average_precisions", "mean_over_classes"]

AT_50: Final = len(IOUS) - 1
"""The row of `ClassMatches.hits` for IoU 0.5."""

_RECALLS: Final = np.linspace(0.0, 1.0, 101)

Values = NDArray[np.float64]


def average_precision(
    matches: ClassMatches,
    *,
    iou: int = AT_50,
    subset: NDArray[np.bool_] | None = None,
) -> float:
    """Return COCO's AP: interpolated precision at 101 recalls, their mean.

    Args:
        matches: Of one class.
        iou: Row of `matches.hits`.
        subset: [D] findings that count; None: all of them.

    Returns:
        A value in [0, 1]; NaN where the class has no lesion.
    """
    hits = matches.hits[iou] if subset is None else matches.hits[iou][subset]
    lesions = int(matches.truths.sum())
    found = np.flatnonzero(hits)
    if not lesions:
        return float("nan")
    # Precision is highest at a hit, so that only hits matter.
    hit_counts = np.arange(1, len(found) + 1, dtype=np.float64)
    ranked = (found + 1).astype(np.float64)
    return float(
        _interpolated(hit_counts[None], ranked[None], np.array([float(lesions)]))[0]
    )


def average_precisions(
    matches: ClassMatches, counts: Values, *, iou: int = AT_50
) -> Values:
    """Return AP of each of B resamples of the images, [B].

    Args:
        matches: Of one class in N images.
        counts: [B, N], how often each image counts.
        iou: Row of `matches.hits`.
    """
    lesions = counts @ matches.truths.astype(np.float64)
    hits = matches.hits[iou]
    found = np.flatnonzero(hits)
    if not len(found):
        return np.where(lesions > 0, 0.0, np.nan)
    images = matches.images[: found[-1] + 1]
    # Findings between two hits, by image; a matrix product adds them up.
    segments = np.searchsorted(found, np.arange(len(images)))
    all_counts = np.zeros((len(found), counts.shape[1]))
    np.add.at(all_counts, (segments, images), 1.0)
    ranked = np.cumsum(counts @ all_counts.T, axis=1)
    return _interpolated(np.cumsum(counts[:, images[found]], axis=1), ranked, lesions)


def mean_over_classes(values: Sequence[Values]) -> Values:
    """Return mAP of each resample, [B]: classes without a lesion do not count."""
    table = np.stack(values)
    defined = ~np.isnan(table)
    number = defined.sum(axis=0)
    total = np.where(defined, table, 0.0).sum(axis=0)
    undefined = np.full(number.shape, np.nan)
    means: Values = np.divide(total, number, out=undefined, where=number > 0)
    return means


def _interpolated(hits: Values, ranked: Values, lesions: Values) -> Values:
    """Return AP from H hits of B rankings, [B].

    Args:
        hits: [B, H] hits up to and including each hit.
        ranked: [B, H] findings up to and including each hit.
        lesions: [B]
    """
    # np.spacing(1) as in COCOeval, where it keeps 0 / 0 away.
    precision = hits / (ranked + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.concatenate((best, np.zeros((len(best), 1))), axis=1)
    result = np.full(len(hits), np.nan)
    for row in np.flatnonzero(lesions > 0):
        reached = np.searchsorted(hits[row] / lesions[row], _RECALLS)
        result[row] = best[row, reached].mean()
    return result
