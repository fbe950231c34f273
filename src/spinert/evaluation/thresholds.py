"""Where to put the threshold, and the band around it that is called UNCERTAIN."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinert.evaluation.bootstrap import (
    Bootstrap,
    Estimate,
    estimate_of,
    resample_counts,
)
from spinert.evaluation.errors import SplitError
from spinert.evaluation.pairs import Pairs
from spinert.evaluation.ranking import Ranking

__all__ = ["CalibratedThreshold", "calibrated_threshold", "youden_threshold"]

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CalibratedThreshold:
    """A threshold for `p >= threshold`, with a band for what is too close to call.

    Below `uncertain_from` an image is ruled out, from `uncertain_to` on it is ruled
    in; between them lies UNCERTAIN, as the bundle means it: `uncertain_from <= p <
    uncertain_to`. Equal ends: no band.
    """

    threshold: Estimate
    """Youden's, with the bootstrap interval of the choice itself."""
    uncertain_from: float
    uncertain_to: float
    sensitivity: float
    """At the threshold."""
    specificity: float
    """At the threshold."""
    rule_out_sensitivity: float
    """Share of abnormal images at or above `uncertain_from`: not ruled out."""
    rule_in_specificity: float
    """Share of normal images below `uncertain_to`: not ruled in."""
    uncertain_share: float
    """Of all images."""


def youden_threshold(truth: NDArray[np.bool_], probabilities: Values) -> float | None:
    """Return the threshold with the highest sensitivity + specificity - 1.

    Youden 1950, as the official code chooses c*. An image is abnormal where
    `p >= threshold`; among equals the highest threshold is taken.

    Returns:
        One of `probabilities`; None where none is better than chance, also where
        one of the classes is absent.
    """
    everything = np.ones((1, len(truth)))
    found = float(Ranking(truth, probabilities).youden_thresholds(everything)[0])
    return None if np.isnan(found) else found


def calibrated_threshold(
    pairs: Pairs,
    *,
    sensitivity: float = 0.95,
    specificity: float = 0.95,
    bootstrap: Bootstrap,
) -> CalibratedThreshold:
    """Choose threshold and band on `pairs`, which must not be the test split.

    The band is between two operating points that radiologists know: ruling out misses
    at most 1 - `sensitivity` of the abnormal images, ruling in alarms for at most
    1 - `specificity` of the normal ones. A classifier that reaches both at its
    Youden threshold needs no band; one that reaches one of the two has its band on
    one side of the threshold only.

    Raises:
        SplitError: Normal or abnormal images are missing, or no threshold is better
            than chance.
    """
    truth, probabilities = pairs.truth, pairs.probabilities
    if truth.all() or not truth.any():
        absent = "normal" if truth.all() else "abnormal"
        raise SplitError(
            f"a threshold needs normal and abnormal images; no image is {absent}"
        )
    threshold = youden_threshold(truth, probabilities)
    if threshold is None:
        raise SplitError(
            "no threshold is better than chance on these images; check that bundle, "
            "images and annotations belong together"
        )
    lower = min(threshold, _rule_out(probabilities[truth], sensitivity))
    upper = max(threshold, _rule_in(probabilities[~truth], specificity))
    ranking = Ranking(truth, probabilities)
    draws = [
        ranking.youden_thresholds(counts)
        for counts in resample_counts(len(pairs), bootstrap, truth)
    ]
    between = (probabilities >= lower) & (probabilities < upper)
    return CalibratedThreshold(
        threshold=estimate_of(threshold, np.concatenate(draws), bootstrap),
        uncertain_from=lower,
        uncertain_to=upper,
        sensitivity=float(np.mean(probabilities[truth] >= threshold)),
        specificity=float(np.mean(probabilities[~truth] < threshold)),
        rule_out_sensitivity=float(np.mean(probabilities[truth] >= lower)),
        rule_in_specificity=float(np.mean(probabilities[~truth] < upper)),
        uncertain_share=float(np.mean(between)),
    )


def _rule_out(abnormal: Values, sensitivity: float) -> float:
    """Return the highest probability that enough abnormal images reach."""
    ranked = np.sort(abnormal)
    # 1e-9: 0.95 of 20 images are 19, whatever 0.95 is in binary.
    may_miss = int(np.floor(len(ranked) * (1 - sensitivity) + 1e-9))
    return float(ranked[min(may_miss, len(ranked) - 1)])


def _rule_in(normal: Values, specificity: float) -> float:
    """Return the lowest probability that enough normal images lie below."""
    ranked = np.sort(normal)[::-1]
    may_alarm = int(np.floor(len(ranked) * (1 - specificity) + 1e-9))
    if may_alarm >= len(ranked):
        return 0.0
    return float(min(np.nextafter(ranked[may_alarm], np.inf), 1.0))
