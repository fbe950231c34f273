"""How far a probability can be taken at its word."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spinert.evaluation.pairs import Pairs

__all__ = ["Calibration", "CalibrationBin", "calibration_of"]


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Images whose probability lies in [low, high), the last one in [low, 1]."""

    low: float
    high: float
    count: int
    mean_probability: float
    abnormal_share: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The reliability diagram and its two summaries; 0 is perfect in both."""

    bins: tuple[CalibrationBin, ...]
    """Without the empty ones."""
    brier: float
    """Mean squared difference of probability and truth (Brier 1950)."""
    ece: float
    """Expected calibration error: the gaps of the bins, weighted by their images
    (Guo et al. 2017)."""


def calibration_of(pairs: Pairs, bins: int = 10) -> Calibration:
    """Sort the ensemble's probabilities into `bins` of equal width."""
    truth = pairs.truth.astype(np.float64)
    probabilities = pairs.probabilities
    edges = np.arange(bins + 1) / bins
    members = np.clip(np.searchsorted(edges, probabilities, "right") - 1, 0, bins - 1)
    filled = []
    for index in np.unique(members):
        inside = members == index
        filled.append(
            CalibrationBin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                count=int(inside.sum()),
                mean_probability=float(probabilities[inside].mean()),
                abnormal_share=float(truth[inside].mean()),
            )
        )
    gaps = (b.count * abs(b.mean_probability - b.abnormal_share) for b in filled)
    return Calibration(
        bins=tuple(filled),
        brier=float(np.mean((probabilities - truth) ** 2)),
        ece=sum(gaps) / len(pairs),
    )
