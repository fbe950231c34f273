"""How far is a network's answer from its reference? Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.runtime.decide.candidates import Candidates

__all__ = ["Reference", "candidate_differences", "logit_differences"]

Reference = Mapping[str, npt.NDArray[Any]]
"""Outputs of the reference framework for one frame, by name, without batch axis."""


def logit_differences(
    expected: Reference, actual: npt.NDArray[Any]
) -> dict[str, float]:
    """Return the largest absolute difference of logits [M]; inf if misshapen."""
    logits = np.asarray(expected["logits"], np.float64)
    if logits.shape != actual.shape:
        return {"logits": float("inf")}
    return {"logits": float(np.abs(logits - actual).max())}


def candidate_differences(
    expected: Reference, actual: Candidates, score_tolerance: float
) -> dict[str, float]:
    """Compare K candidates; only those of equal score may change places.

    Scores are compared rank by rank. Each expected candidate then takes the nearest
    unused box of its own label and of its score within `score_tolerance`. The top K
    are cut from a longer list, so of candidates that tie with the last place either
    may be in it; one without partner is lost unless it ties with the last.

    Returns:
        `boxes`: largest difference of a coordinate; `scores`: largest difference;
        `labels`: how many candidates were lost. Infinite if misshapen.
    """
    scores = np.asarray(expected["scores"], np.float64)
    found = np.asarray(actual.scores, np.float64)
    if scores.shape != found.shape or expected["boxes"].shape != actual.boxes.shape:
        return dict.fromkeys(("boxes", "scores", "labels"), float("inf"))
    by_rank = np.abs(np.sort(scores) - np.sort(found))
    last = float(scores.min()) + score_tolerance
    free = np.ones(len(found), bool)
    boxes, lost = 0.0, 0
    for index in np.argsort(-scores, kind="stable"):
        fits = free & (actual.labels == expected["labels"][index])
        fits &= np.abs(found - scores[index]) <= score_tolerance
        if not fits.any():
            lost += int(scores[index] > last)
            continue
        gaps = np.abs(actual.boxes.astype(np.float64) - expected["boxes"][index])
        distance = np.where(fits, gaps.max(axis=1), np.inf)
        nearest = int(distance.argmin())
        free[nearest] = False
        boxes = max(boxes, float(distance[nearest]))
    return {"boxes": boxes, "scores": float(by_rank.max()), "labels": float(lost)}
