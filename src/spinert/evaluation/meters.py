"""One classifier's figures on many resamples of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinert.evaluation.bootstrap import Bootstrap, resample_counts
from spinert.evaluation.ranking import Ranking
from spinert.evaluation.thresholds import youden_threshold

__all__ = ["FIGURES", "Meter", "Resampled", "meter_from", "resampled"]

Values = NDArray[np.float64]

FIGURES: Final = ("auroc", "f1", "sensitivity", "specificity", "precision")
"""The rows of `Resampled`'s arrays."""


@dataclass(frozen=True, kw_only=True)
class Meter:
    """A classifier at its threshold on N images."""

    threshold: float | None
    """None where Youden's index knows no threshold better than chance."""
    is_youden: bool
    ranking: Ranking
    outcomes: Values
    """[N, 4] one-hot: true positive, false negative, false positive, true negative;
    NaN without a threshold."""

    def figures(self, counts: Values) -> Values:
        """Return FIGURES of each resample, [5, B]; NaN where one is undefined.

        Args:
            counts: [B, N], how often each image counts.
        """
        cells = (counts @ self.outcomes).T
        hit, missed, false_alarm, passed = cells
        return np.stack(
            (
                self.ranking.aurocs(counts),
                _quotient(2 * hit, 2 * hit + missed + false_alarm),
                _quotient(hit, hit + missed),
                _quotient(passed, passed + false_alarm),
                _quotient(hit, hit + false_alarm),
            )
        )


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Figures of C classifiers on all images, and on the same B resamples."""

    values: Values
    """[C, 5]"""
    draws: Values
    """[C, 5, B]"""


def meter_from(
    truth: NDArray[np.bool_],
    probabilities: Values,
    threshold: float | None,
    inclusive: bool,
) -> Meter:
    """Return the meter of `probabilities` [N].

    Args:
        truth: [N] abnormal.
        probabilities: [N] of abnormal.
        threshold: None: Youden's on these images.
        inclusive: A probability equal to a given threshold is abnormal; it always is
            at Youden's.
    """
    is_youden = threshold is None
    if threshold is None:
        threshold = youden_threshold(truth, probabilities)
    outcomes = np.full((len(truth), 4), np.nan)
    if threshold is not None:
        compare = np.greater_equal if inclusive or is_youden else np.greater
        positive = compare(probabilities, threshold)
        truths, calls = (truth, ~truth), (positive, ~positive)
        cells = [is_so & called for is_so in truths for called in calls]
        outcomes = np.stack(cells, axis=1).astype(np.float64)
    return Meter(
        threshold=threshold,
        is_youden=is_youden,
        ranking=Ranking(truth, probabilities),
        outcomes=outcomes,
    )


def resampled(
    meters: Sequence[Meter], truth: NDArray[np.bool_], bootstrap: Bootstrap
) -> Resampled:
    """Measure all images, then the same resamples of them by every meter.

    Thresholds stay fixed while images are resampled, as in the official
    `classification_evaluator.py`.
    """
    everything = np.ones((1, len(truth)))
    values = [meter.figures(everything)[:, 0] for meter in meters]
    draws = [
        [meter.figures(counts) for meter in meters]
        for counts in resample_counts(len(truth), bootstrap, truth)
    ]
    return Resampled(values=np.stack(values), draws=np.concatenate(draws, axis=2))


def _quotient(above: Values, below: Values) -> Values:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
