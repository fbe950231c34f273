"""Let the detector help the classifier: what reverse fusion gains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spinert.evaluation.bootstrap import Bootstrap, Estimate, estimate_of
from spinert.evaluation.meters import FIGURES, meter_from, resampled
from spinert.evaluation.pairs import Pairs

__all__ = ["ReverseFusion", "reverse_fusion"]


@dataclass(frozen=True, kw_only=True)
class ReverseFusion:
    """Images scored by (p + best finding) / 2 against p alone.

    Each has its own Youden threshold on these images; intervals of the gains are of
    paired resamples.
    """

    threshold: float | None
    """Of the fused score."""
    auroc: Estimate
    f1: Estimate
    auroc_gain: Estimate
    f1_gain: Estimate


def reverse_fusion(
    pairs: Pairs, *, no_box_score: float = 0.0, bootstrap: Bootstrap
) -> ReverseFusion:
    """Measure the paper's reverse fusion (arXiv 2106.12930, section 3).

    The paper gains 1.58 points of AUROC and 0.46 of F1 by it. Neither paper nor
    official code says what an image without findings gets.

    Args:
        pairs: N images; all findings count, also suppressed ones.
        no_box_score: Of an image without findings.
        bootstrap: How intervals are drawn.
    """
    best = np.array(
        [
            max((box.score for box in prediction.boxes), default=no_box_score)
            for prediction in pairs.predictions
        ]
    )
    plain = meter_from(pairs.truth, pairs.probabilities, None, True)
    fused = meter_from(pairs.truth, (pairs.probabilities + best) / 2, None, True)
    measured = resampled([plain, fused], pairs.truth, bootstrap)
    gains = measured.values[1] - measured.values[0]
    gain_draws = measured.draws[1] - measured.draws[0]
    estimates = {}
    for row, figure in enumerate(FIGURES[:2]):
        estimates[figure] = estimate_of(
            measured.values[1, row], measured.draws[1, row], bootstrap
        )
        estimates[f"{figure}_gain"] = estimate_of(
            gains[row], gain_draws[row], bootstrap
        )
    return ReverseFusion(threshold=fused.threshold, **estimates)
