"""`spinert calibrate`: a threshold and a band, chosen on a split."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinert.evaluation.bootstrap import Bootstrap, Estimate
from spinert.evaluation.errors import SplitError
from spinert.evaluation.pairs import Pairs
from spinert.evaluation.subject import Rules
from spinert.evaluation.thresholds import calibrated_threshold
from spinert.proto import bundle_pb2 as pb
from spinert.runtime.bundle_revision import BundleChange

__all__ = [
    "Aim",
    "Calibrated",
    "OperatingPoint",
    "calibrated",
    "note_of",
    "require_no_test_split",
]

_TEST: Final = "test"


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What the band has to reach: more of either makes it wider."""

    sensitivity: float = 0.95
    """Share of abnormal images that must not be ruled out."""
    specificity: float = 0.95
    """Share of normal images that must not be ruled in."""
    has_band: bool = True

    def __post_init__(self) -> None:
        """Refuse what no band can reach.

        Raises:
            SplitError: A share is outside (0, 1].
        """
        for name, value in (
            ("--sensitivity", self.sensitivity),
            ("--specificity", self.specificity),
        ):
            if not 0 < value <= 1:
                raise SplitError(f"{name} is {value:g}; give a share such as 0.95")


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A choice of threshold and band, and what it does on the split."""

    threshold: float
    uncertain_from: float
    uncertain_to: float
    """Equal to `uncertain_from`: no band."""
    sensitivity: float
    specificity: float
    uncertain_share: float
    """Of all images."""


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What is chosen, what was there, and the change that makes it so."""

    before: OperatingPoint
    after: OperatingPoint
    threshold: Estimate
    """With the bootstrap interval of the choice."""
    images: int
    abnormal: int
    change: BundleChange


def require_no_test_split(*names: str) -> None:
    """Do nothing if no name is that of a test split.

    What a threshold was chosen on cannot tell how good it is.

    Args:
        names: Of splits and tables.

    Raises:
        SplitError: One begins with "test".
    """
    for name in names:
        if name.casefold().startswith(_TEST):
            raise SplitError(
                f"{name!r} is a test split: a threshold chosen on it makes its figures "
                "worthless; name another, or say --allow-test-split"
            )


def calibrated(
    pairs: Pairs, rules: Rules, aim: Aim, bootstrap: Bootstrap
) -> Calibrated:
    """Choose Youden's threshold, and a band between ruling out and ruling in.

    Where reverse fusion decides, the threshold is of its score; the band is on the
    classifier's probability all the same, as the runtime has it.

    Args:
        pairs: Images of a split that is not the test split.
        rules: Of the bundle.
        aim: What the band has to reach.
        bootstrap: For the interval of the threshold.

    Raises:
        SplitError: Normal or abnormal images are missing, or no threshold is better
            than chance.
    """
    scores = _deciding_scores(pairs, rules.fusion)
    deciding = _with_probabilities(pairs, scores)
    chosen = calibrated_threshold(
        deciding,
        sensitivity=aim.sensitivity,
        specificity=aim.specificity,
        bootstrap=bootstrap,
    )
    value = chosen.threshold.value
    if value is None:
        raise SplitError(f"no threshold was found: {chosen.threshold.reason}")
    threshold = _for_comparison(value, rules.decision.comparison)
    band = chosen.uncertain_from, chosen.uncertain_to
    if rules.fusion.HasField("reverse"):
        on_probability = calibrated_threshold(
            pairs,
            sensitivity=aim.sensitivity,
            specificity=aim.specificity,
            bootstrap=bootstrap,
        )
        band = on_probability.uncertain_from, on_probability.uncertain_to
    if not aim.has_band:
        band = threshold, threshold
    decision = rules.decision
    before = rules.fusion.reverse if rules.fusion.HasField("reverse") else decision
    return Calibrated(
        before=_point(
            deciding,
            pairs.probabilities,
            before.threshold,
            (decision.uncertain_from, decision.uncertain_to),
            decision.comparison,
        ),
        after=_point(
            deciding, pairs.probabilities, threshold, band, decision.comparison
        ),
        threshold=replace(chosen.threshold, value=threshold),
        images=len(pairs),
        abnormal=int(pairs.truth.sum()),
        change=BundleChange(threshold=threshold, uncertain=band),
    )


def note_of(found: Calibrated, *, split: str, precision: str) -> str:
    """Return what a revision says of the evidence; no patient data."""
    point = found.after
    return (
        f"threshold {found.before.threshold:.6g} -> {point.threshold:.6g} (Youden), "
        f"UNCERTAIN [{point.uncertain_from:.6g}, {point.uncertain_to:.6g}), on "
        f"{found.images} images of split {split!r} ({found.abnormal} abnormal) in "
        f"{precision}: sensitivity {point.sensitivity:.4f}, specificity "
        f"{point.specificity:.4f}"
    )


def _deciding_scores(pairs: Pairs, fusion: pb.Fusion) -> NDArray[np.float64]:
    if not fusion.HasField("reverse"):
        return pairs.probabilities
    empty = fusion.reverse.no_box_score
    best = [
        max((box.score for box in prediction.boxes), default=empty)
        for prediction in pairs.predictions
    ]
    return (pairs.probabilities + np.array(best, np.float64)) / 2


def _with_probabilities(pairs: Pairs, values: NDArray[np.float64]) -> Pairs:
    predictions = zip(pairs.predictions, values.tolist(), strict=True)
    return Pairs(
        cases=pairs.cases,
        predictions=tuple(replace(p, probability=value) for p, value in predictions),
    )


def _for_comparison(threshold: float, comparison: pb.Comparison) -> float:
    """Return what decides the same with `>`, where the bundle compares so."""
    return math.nextafter(threshold, 0.0) if comparison == pb.GREATER else threshold


def _point(
    deciding: Pairs,
    probabilities: NDArray[np.float64],
    threshold: float,
    band: tuple[float, float],
    comparison: pb.Comparison,
) -> OperatingPoint:
    compare = np.greater if comparison == pb.GREATER else np.greater_equal
    positive = compare(deciding.probabilities, threshold)
    between = (probabilities >= band[0]) & (probabilities < band[1])
    return OperatingPoint(
        threshold=threshold,
        uncertain_from=band[0],
        uncertain_to=band[1],
        sensitivity=float(positive[deciding.truth].mean()),
        specificity=float((~positive[~deciding.truth]).mean()),
        uncertain_share=float(between.mean()),
    )
