"""Percentile bootstrap over images, as the paper's confidence intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bootstrap", "Estimate", "estimate_of", "resample_counts"]

_CHUNK: Final = 200


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How confidence intervals are drawn; the paper's values are the defaults.

    More resamples make the ends of an interval steadier and cost time in proportion.
    """

    resamples: int = 10_000
    seed: int = 1999
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Refuse what yields no interval.

        Raises:
            ValueError: A value is out of range.
        """
        if self.resamples < 1:
            raise ValueError(f"resamples is {self.resamples}; use at least 1")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}; use 0.95, for example")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its confidence interval; all None where it is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    """Why the figure or its interval is undefined."""


def estimate_of(
    value: float, resampled: NDArray[np.float64], bootstrap: Bootstrap
) -> Estimate:
    """Return `value` with the percentile interval of its resampled figures.

    Args:
        value: The figure on all images; NaN where it is undefined.
        resampled: [B]; NaN where a resample leaves it undefined: not counted.
        bootstrap: States the confidence.
    """
    if np.isnan(value):
        return Estimate(value=None, reason="undefined on these images")
    defined = resampled[~np.isnan(resampled)]
    if not defined.size:
        return Estimate(value=float(value), reason="undefined in every resample")
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.quantile(defined, (tail, 1 - tail))
    return Estimate(value=float(value), low=float(low), high=float(high))


def resample_counts(
    size: int, bootstrap: Bootstrap, strata: NDArray[np.bool_] | None = None
) -> Iterator[NDArray[np.float64]]:
    """Yield how often each of `size` images is drawn, [resamples of a chunk, size].

    The draws are those of the official `classification_evaluator.py`: NumPy's
    RandomState from `seed`, `size` images with replacement each time; a resample that
    lacks one of the two classes which the split has is drawn again.

    Args:
        size: Number of images.
        bootstrap: States number and seed.
        strata: [size] the two classes; None: every resample counts.
    """
    random = np.random.RandomState(bootstrap.seed)
    mixed = strata is not None and bool(strata.any()) and not bool(strata.all())
    missing = bootstrap.resamples
    while missing:
        drawn = min(missing, _CHUNK)
        counts = _counts(random, drawn, size)
        if mixed:
            positives = counts @ np.asarray(strata, np.float64)
            counts = counts[(positives > 0) & (positives < size)]
        missing -= len(counts)
        yield counts


def _counts(
    random: np.random.RandomState, draws: int, size: int
) -> NDArray[np.float64]:
    chosen = random.randint(size, size=(draws, size))
    chosen += np.arange(draws)[:, None] * size
    counts = np.bincount(chosen.ravel(), minlength=draws * size)
    return counts.reshape(draws, size).astype(np.float64)
