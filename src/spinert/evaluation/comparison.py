"""How far two sets of predictions of the same images are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinert.evaluation.bootstrap import Bootstrap, Estimate, estimate_of
from spinert.evaluation.detection import resampled_maps
from spinert.evaluation.errors import PredictionError
from spinert.evaluation.flips import (
    FindingFlip,
    ImageFlip,
    finding_flips,
    image_flips,
)
from spinert.evaluation.matching import matches_of
from spinert.evaluation.meters import meter_from, resampled
from spinert.evaluation.pairs import Pairs
from spinert.evaluation.precision import average_precision, mean_over_classes

__all__ = ["Comparison", "Difference", "compared"]

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One figure of A and of B."""

    a: float | None
    b: float | None
    difference: Estimate
    """B - A; its interval is of paired resamples: both see the same images."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """B against A."""

    auroc: Difference
    map50: Difference
    """mAP@0.5 of the whole framework: of what fusion kept."""
    detector_map50: Difference
    """mAP@0.5 of all findings."""
    max_probability_difference: float
    """Largest absolute difference of the ensemble's probability of one image."""
    image_flips: tuple[ImageFlip, ...]
    finding_flips: tuple[FindingFlip, ...]


def compared(
    a: Pairs,
    b: Pairs,
    classes: Sequence[str],
    *,
    cutoff: float,
    bootstrap: Bootstrap,
    detection_bootstrap: Bootstrap,
) -> Comparison:
    """Compare two sets of predictions, for example of FP32 and FP16.

    Args:
        a: The reference.
        b: Predictions of the same cases.
        classes: Of the bundle.
        cutoff: Findings with at least this score count as confident ones.
        bootstrap: For AUROC.
        detection_bootstrap: For mAP, whose resamples take longer.

    Raises:
        PredictionError: The two are not of the same cases.
    """
    if a.cases != b.cases:
        raise PredictionError("the two sets are not of the same annotated images")
    meters = [meter_from(a.truth, each.probabilities, None, True) for each in (a, b)]
    measured = resampled(meters, a.truth, bootstrap)
    gaps = np.abs(a.probabilities - b.probabilities)
    return Comparison(
        auroc=_difference(measured.values[:, 0], measured.draws[:, 0].T, bootstrap),
        map50=_map50(a, b, classes, True, detection_bootstrap),
        detector_map50=_map50(a, b, classes, False, detection_bootstrap),
        max_probability_difference=float(gaps.max()),
        image_flips=image_flips(a, b),
        finding_flips=finding_flips(a, b, cutoff),
    )


def _map50(
    a: Pairs, b: Pairs, classes: Sequence[str], kept_only: bool, bootstrap: Bootstrap
) -> Difference:
    rivals = [matches_of(each, classes, kept_only=kept_only) for each in (a, b)]
    everything = [
        mean_over_classes([np.array([average_precision(m)]) for m in matches])
        for matches in rivals
    ]
    draws = np.concatenate(list(resampled_maps(rivals, len(a), bootstrap)))
    return _difference(np.concatenate(everything), draws, bootstrap)


def _difference(values: Values, draws: Values, bootstrap: Bootstrap) -> Difference:
    """Return the difference of two figures.

    Args:
        values: [2] on all images.
        draws: [B, 2] on resamples.
        bootstrap: States the confidence.
    """
    a, b = (None if np.isnan(value) else float(value) for value in values)
    return Difference(
        a=a,
        b=b,
        difference=estimate_of(
            float(values[1] - values[0]), draws[:, 1] - draws[:, 0], bootstrap
        ),
    )
