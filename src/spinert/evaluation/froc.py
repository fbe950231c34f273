"""Sensitivity for lesions against false alarms per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinert.evaluation.matching import ClassMatches
from spinert.evaluation.precision import AT_50

__all__ = ["OPERATING_POINTS", "FrocCurve", "froc_of"]

Values = NDArray[np.float64]

OPERATING_POINTS: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per image of the summary (Setio et al. 2017, LUNA16)."""


@dataclass(frozen=True, kw_only=True)
class FrocCurve:
    """S operating points, the strictest first; IoU 0.5.

    Every image counts below the line, also those without a lesion. A finding that
    hits a lesion which a better one has taken is a false positive, as for AP.
    """

    label: str | None
    """None: all classes pooled, a finding has to have the right one."""
    lesions: int
    thresholds: Values
    """[S] distinct scores, falling: findings with at least this score count."""
    false_positives_per_image: Values
    """[S], rising."""
    sensitivity: Values
    """[S], rising; NaN where no lesion is annotated."""
    at: tuple[tuple[float, float], ...]
    """Sensitivity at each of OPERATING_POINTS; empty where no lesion is annotated."""
    mean_sensitivity: float | None
    """Mean over OPERATING_POINTS."""


def froc_of(matches: Sequence[ClassMatches]) -> tuple[FrocCurve, ...]:
    """Return the curve of each class, then that of all classes pooled.

    Args:
        matches: All classes, of the same images.
    """
    images = len(matches[0].truths)
    curves = [
        _curve(m.label, m.scores, m.hits[AT_50], int(m.truths.sum()), images)
        for m in matches
    ]
    scores = np.concatenate([m.scores for m in matches])
    hits = np.concatenate([m.hits[AT_50] for m in matches])
    lesions = sum(curve.lesions for curve in curves)
    order = np.argsort(-scores, kind="stable")
    curves.append(_curve(None, scores[order], hits[order], lesions, images))
    return tuple(curves)


def _curve(
    label: str | None,
    scores: Values,
    hits: NDArray[np.bool_],
    lesions: int,
    images: int,
) -> FrocCurve:
    # The last finding of each run of equal scores.
    steps = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: len(scores)])
    found = np.cumsum(hits)[steps]
    alarms = (steps + 1 - found) / images
    sensitivity = found / lesions if lesions else np.full(len(steps), np.nan)
    at = tuple((x, _at(x, alarms, sensitivity)) for x in OPERATING_POINTS)
    return FrocCurve(
        label=label,
        lesions=lesions,
        thresholds=scores[steps],
        false_positives_per_image=alarms,
        sensitivity=sensitivity,
        at=at if lesions else (),
        mean_sensitivity=float(np.mean([y for _, y in at])) if lesions else None,
    )


def _at(alarms_per_image: float, alarms: Values, sensitivity: Values) -> float:
    """Return the best sensitivity with no more false alarms; 0 where none is."""
    index = int(np.searchsorted(alarms, alarms_per_image, side="right"))
    return float(sensitivity[index - 1]) if index else 0.0
