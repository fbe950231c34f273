"""Quick measures of progress; `spinert evaluate` is what counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Detections", "area_under_roc", "average_precision"]

_RECALLS: Final = np.linspace(0.0, 1.0, 101)

Floats = npt.NDArray[np.float64]


def area_under_roc(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Return the share of pairs in the right order; ties count half.

    Args:
        scores: float64 (N,).
        positive: bool (N,).

    Returns:
        NaN where all are positive or none is.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    _, rank, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2  # of the ranks, from 1
    above = middle[rank][positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Scored or true boxes of one frame and one class."""

    boxes: Floats
    """(n,4), xyxy."""
    scores: Floats
    """(n,), best first; ones where the boxes are the truth."""


def _overlaps(found: Floats, true: Floats) -> Floats:
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum(found[:, None, 2:], true[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (found, true)]
    whole = areas[0][:, None] + areas[1][None] - both
    overlaps: Floats = both / np.maximum(whole, 1e-12)
    return overlaps


def _hits(found: Detections, true: Detections, iou: float) -> npt.NDArray[np.bool_]:
    """Tell which boxes find a lesion that no better scored one has found."""
    hits = np.zeros(len(found.boxes), np.bool_)
    if not len(found.boxes) or not len(true.boxes):
        return hits
    overlaps = _overlaps(found.boxes, true.boxes)
    for row in range(len(hits)):
        best = int(overlaps[row].argmax())
        if overlaps[row, best] >= iou:
            hits[row] = True
            overlaps[:, best] = -1.0
    return hits


def average_precision(
    found: Sequence[Detections], true: Sequence[Detections], iou: float = 0.5
) -> float:
    """Return COCO's average precision of one class at one overlap.

    Args:
        found: Of each frame.
        true: Of the same frames.
        iou: Least overlap of a hit.

    Returns:
        The mean of the highest precisions at 101 recalls; NaN without a true box.
    """
    lesions = sum(len(frame.boxes) for frame in true)
    if lesions == 0:
        return float("nan")
    pairs = list(zip(found, true, strict=True))
    hits = np.concatenate([_hits(ours, theirs, iou) for ours, theirs in pairs])
    scores = np.concatenate([frame.scores for frame in found])
    hits = hits[np.argsort(-scores, kind="mergesort")]
    right = np.cumsum(hits)
    recall = right / lesions
    precision = right / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, _RECALLS, side="left")
    reached = place < len(highest)
    return float(np.where(reached, np.append(highest, 0.0)[place], 0.0).mean())
