"""AUROC and Youden's threshold of many weighted resamples at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ranking"]

Rows = NDArray[np.float64]
"""[B, N]: how often each image counts in each of B resamples."""


class Ranking:
    """N images sorted by probability, the most abnormal first.

    Equal probabilities form one step of the ROC curve.
    """

    def __init__(
        self, truth: NDArray[np.bool_], probabilities: NDArray[np.float64]
    ) -> None:
        """Sort `probabilities` [N] once; `truth` [N] is abnormal."""
        order = np.argsort(-probabilities, kind="stable")
        ranked = probabilities[order]
        self._starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        self._order = order
        self._truth = truth[order].astype(np.float64)
        self.thresholds: NDArray[np.float64] = ranked[self._starts]
        """Distinct probabilities, highest first."""

    def aurocs(self, counts: Rows) -> NDArray[np.float64]:
        """Return the area under the ROC curve of each resample, [B].

        The share of pairs of an abnormal and a normal image that are ranked rightly;
        a tie is half a pair (Hanley and McNeil 1982). NaN where one class is absent.
        """
        abnormal, normal = self._steps(counts)
        below = normal.sum(axis=1, keepdims=True) - np.cumsum(normal, axis=1)
        right = (abnormal * (below + normal / 2)).sum(axis=1)
        pairs = abnormal.sum(axis=1) * normal.sum(axis=1)
        return _quotient(right, pairs)

    def youden_thresholds(self, counts: Rows) -> NDArray[np.float64]:
        """Return the threshold with the highest Youden index of each resample, [B].

        Among equals the highest, as the official code's `argmax(tpr - fpr)`. NaN where
        no threshold is better than chance.
        """
        abnormal, normal = self._steps(counts)
        positives = abnormal.sum(axis=1, keepdims=True)
        negatives = normal.sum(axis=1, keepdims=True)
        # Cross-multiplied, whole numbers: rounding cannot decide between equals.
        index = np.cumsum(abnormal, axis=1) * negatives
        index -= np.cumsum(normal, axis=1) * positives
        best = np.argmax(index, axis=1)
        found = self.thresholds[best]
        return np.where(index[np.arange(len(best)), best] > 0, found, np.nan)

    def _steps(self, counts: Rows) -> tuple[Rows, Rows]:
        """Return abnormal and normal images at each distinct probability, [B, S]."""
        ranked = counts[:, self._order]
        abnormal = ranked * self._truth
        normal = ranked - abnormal
        if len(self._starts) < len(self._order):
            abnormal = np.add.reduceat(abnormal, self._starts, axis=1)
            normal = np.add.reduceat(normal, self._starts, axis=1)
        return abnormal, normal


def _quotient(
    above: NDArray[np.float64], below: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
