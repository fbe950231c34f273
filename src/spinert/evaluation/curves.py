"""ROC and precision-recall curves of the ensemble."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from spinert.evaluation.pairs import Pairs

__all__ = ["PrecisionRecallCurve", "RocCurve", "precision_recall_of", "roc_of"]

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RocCurve:
    """[S] points from (0, 0) to (1, 1); the first threshold is infinite."""

    false_positive_rate: Values
    true_positive_rate: Values
    thresholds: Values


@dataclass(frozen=True, kw_only=True)
class PrecisionRecallCurve:
    """[S + 1] points, recall falling to 0; [S] thresholds, rising."""

    recall: Values
    precision: Values
    thresholds: Values
    average_precision: float


def roc_of(pairs: Pairs, probabilities: Values | None = None) -> RocCurve | None:
    """Return the ROC curve; None where normal or abnormal images are missing.

    Args:
        pairs: N images.
        probabilities: [N], of a member for example; None: of the ensemble.
    """
    if _is_one_class(pairs):
        return None
    scores = pairs.probabilities if probabilities is None else probabilities
    false_positive, true_positive, thresholds = roc_curve(pairs.truth, scores)
    return RocCurve(
        false_positive_rate=false_positive,
        true_positive_rate=true_positive,
        thresholds=thresholds,
    )


def precision_recall_of(pairs: Pairs) -> PrecisionRecallCurve | None:
    """Return the curve; None where normal or abnormal images are missing."""
    if _is_one_class(pairs):
        return None
    precision, recall, thresholds = precision_recall_curve(
        pairs.truth, pairs.probabilities
    )
    return PrecisionRecallCurve(
        recall=recall,
        precision=precision,
        thresholds=thresholds,
        average_precision=float(
            average_precision_score(pairs.truth, pairs.probabilities)
        ),
    )


def _is_one_class(pairs: Pairs) -> bool:
    return bool(pairs.truth.all()) or not pairs.truth.any()
