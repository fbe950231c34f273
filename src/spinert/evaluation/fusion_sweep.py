"""mAP of the framework for every choice of c* and of the low-confidence cut-off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinert.evaluation.matching import ClassMatches, matches_of
from spinert.evaluation.pairs import Pairs
from spinert.evaluation.precision import average_precision

__all__ = ["CUTOFFS", "THRESHOLDS", "FusionSweep", "SweepPoint", "fusion_sweep"]

THRESHOLDS: Final = tuple(round(0.05 * step, 2) for step in range(21))
CUTOFFS: Final = tuple(round(0.05 * step, 2) for step in range(21))


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """One choice."""

    threshold: float
    cutoff: float
    map50: float


@dataclass(frozen=True, kw_only=True)
class FusionSweep:
    """mAP@0.5 on a grid; the best point is chosen on these very images."""

    thresholds: tuple[float, ...]
    cutoffs: tuple[float, ...]
    map50: tuple[tuple[float, ...], ...]
    """[cut-off][threshold]"""
    best: SweepPoint
    """Among equals the one with the lowest cut-off, then threshold."""
    detector_only: float
    """Without fusion."""


def fusion_sweep(
    pairs: Pairs,
    classes: Sequence[str],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    cutoffs: Sequence[float] = CUTOFFS,
) -> FusionSweep | None:
    """Apply the paper's fusion with other constants to stored findings.

    An image is normal where p < threshold; of a normal image findings with
    score >= cut-off are kept (`spine/eval_overall.py`). The detector's findings must
    all be there, also those the bundle's own fusion suppressed.

    Returns:
        None where no lesion of any class is annotated.
    """
    matches = matches_of(pairs, classes)
    everywhere = _map(matches, np.ones(len(pairs), np.bool_), 0.0)
    if everywhere is None:
        return None
    grid = [
        [
            _map(matches, pairs.probabilities >= threshold, cutoff) or 0.0
            for threshold in thresholds
        ]
        for cutoff in cutoffs
    ]
    row, column = divmod(int(np.argmax(grid)), len(thresholds))
    best = SweepPoint(
        threshold=thresholds[column], cutoff=cutoffs[row], map50=grid[row][column]
    )
    return FusionSweep(
        thresholds=tuple(thresholds),
        cutoffs=tuple(cutoffs),
        map50=tuple(map(tuple, grid)),
        best=best,
        detector_only=everywhere,
    )


def _map(
    matches: Sequence[ClassMatches], abnormal: NDArray[np.bool_], cutoff: float
) -> float | None:
    """Return mAP@0.5 of what fusion keeps; matches are those of all findings."""
    found = [
        average_precision(m, subset=abnormal[m.images] | (m.scores >= cutoff))
        for m in matches
    ]
    defined = [value for value in found if not np.isnan(value)]
    return float(np.mean(defined)) if defined else None
