"""Would two answers lead to different decisions? Rules on a bundle's thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2 as pb

__all__ = [
    "classifier_flips",
    "combined_probability",
    "detection_flips",
    "detections_passing",
]

_Array = npt.NDArray[Any]


def combined_probability(logits: _Array, rule: pb.Combination) -> float:
    """Return the probability of abnormal that an ensemble's logits [M] stand for.

    In float64, by the rule of the bundle; NaN where a logit is not a number.
    """
    values = logits.astype(np.float64)
    if rule.rule == pb.COMBINATION_LOGIT_MEAN:
        clip = rule.probability_clip
        limit = np.log1p(-clip) - np.log(clip) if clip > 0 else np.inf
        return float(_sigmoid(np.clip(values, -limit, limit).mean()))
    weights = rule.weights if rule.rule == pb.COMBINATION_WEIGHTED else None
    return float(np.average(_sigmoid(values), weights=weights))


def classifier_flips(expected: _Array, actual: _Array, bundle: pb.Bundle) -> int:
    """Return 1 where logits [M] decide otherwise than the expected ones, else 0."""
    rule = bundle.decision
    sides = [
        _passes(
            np.array(combined_probability(logits, bundle.combination)),
            rule.threshold,
            rule.comparison,
        )
        for logits in (expected, actual)
    ]
    return int(sides[0] != sides[1])


def detection_flips(expected: _Array, actual: _Array, rule: pb.Fusion) -> int:
    """Count pairs of scores [P] on different sides of the low-confidence cut-off."""
    cutoff = rule.low_confidence_cutoff
    before = _passes(expected, cutoff, rule.comparison)
    after = _passes(actual, cutoff, rule.comparison)
    return int(np.count_nonzero(before != after))


def detections_passing(scores: _Array, rule: pb.Fusion) -> int:
    """Count the scores [P] that pass the low-confidence cut-off."""
    passing = _passes(scores, rule.low_confidence_cutoff, rule.comparison)
    return int(np.count_nonzero(passing))


def _sigmoid(logits: _Array) -> _Array:
    """Return the logistic function without overflow at either end."""
    odds = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, odds) / (1.0 + odds))


def _passes(values: _Array, cut: float, comparison: pb.Comparison) -> _Array:
    greater = comparison == pb.GREATER
    return np.asarray(values > cut if greater else values >= cut)
