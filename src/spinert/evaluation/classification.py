"""Normal against abnormal, by each member and by the ensemble: the paper's Table 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinert.evaluation.bootstrap import Bootstrap, Estimate, estimate_of
from spinert.evaluation.meters import FIGURES, Meter, meter_from, resampled
from spinert.evaluation.pairs import Pairs

__all__ = ["ENSEMBLE", "ClassificationRow", "Confusion", "classification_table"]

ENSEMBLE: Final = "Ensemble"
"""Name of the last row."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Images by annotation (abnormal or not) and decision (positive or not)."""

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int


@dataclass(frozen=True, kw_only=True)
class ClassificationRow:
    """One classifier; all figures but AUROC are at its threshold."""

    name: str
    threshold: float | None
    """None where Youden's index knows no threshold better than chance."""
    is_youden: bool
    """The threshold was chosen on these very images: the figures flatter."""
    auroc: Estimate
    f1: Estimate
    sensitivity: Estimate
    specificity: Estimate
    precision: Estimate
    confusion: Confusion | None


def classification_table(
    pairs: Pairs,
    *,
    member_names: Sequence[str],
    threshold: float | None,
    inclusive: bool = True,
    bootstrap: Bootstrap,
) -> tuple[ClassificationRow, ...]:
    """Measure each member, then the ensemble.

    A member is measured at its own Youden threshold on these images, the ensemble at
    `threshold`. All of them see the same resamples.

    Args:
        pairs: N images.
        member_names: One for each member, in the order of the predictions. A single
            member is the ensemble: it gets no row of its own.
        threshold: Of the ensemble; None: Youden's on these images.
        inclusive: A probability equal to `threshold` is abnormal.
        bootstrap: How intervals are drawn.

    Raises:
        ValueError: There is not one name for each member.
    """
    members = list(zip(member_names, pairs.members.T, strict=True))
    meters = {
        name: meter_from(pairs.truth, column, None, True)
        for name, column in (members if len(members) > 1 else ())
    }
    ensemble = meter_from(pairs.truth, pairs.probabilities, threshold, inclusive)
    meters[ENSEMBLE] = ensemble
    measured = resampled(list(meters.values()), pairs.truth, bootstrap)
    rows = []
    for index, (name, meter) in enumerate(meters.items()):
        figures = {
            figure: _explained(
                estimate_of(value, draws, bootstrap), figure, meter, pairs.truth
            )
            for figure, value, draws in zip(
                FIGURES, measured.values[index], measured.draws[index], strict=True
            )
        }
        rows.append(
            ClassificationRow(
                name=name,
                threshold=meter.threshold,
                is_youden=meter.is_youden,
                confusion=_confusion(meter),
                **figures,
            )
        )
    return tuple(rows)


def _explained(
    estimate: Estimate, figure: str, meter: Meter, truth: NDArray[np.bool_]
) -> Estimate:
    """Say why a figure is undefined."""
    if estimate.value is not None:
        return estimate
    absent = "abnormal" if not truth.any() else "normal" if truth.all() else ""
    if absent:
        return replace(estimate, reason=f"there is no {absent} image")
    if meter.threshold is None:
        return replace(estimate, reason="no threshold is better than chance")
    return replace(estimate, reason=f"no image is called abnormal: no {figure}")


def _confusion(meter: Meter) -> Confusion | None:
    if meter.threshold is None:
        return None
    hit, missed, false_alarm, passed = map(int, meter.outcomes.sum(axis=0))
    return Confusion(
        true_positive=hit,
        false_negative=missed,
        false_positive=false_alarm,
        true_negative=passed,
    )
