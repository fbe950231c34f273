"""Which candidate of one answer is which of another? Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Pairs", "exact_pairs", "relevant_pairs"]

_Array = npt.NDArray[Any]
_Answer = Mapping[str, _Array]
_Indices = npt.NDArray[np.intp]

_SAME_OBJECT_IOU: Final = 0.5
_TINY: Final = 1e-12
"""In place of a tolerance of zero, to divide by."""
_STAND_IN_SCORES: Final = 5.0
"""A stand-in's score may differ by this many tolerances."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Candidates that stand for each other, and those that stand alone."""

    expected: _Indices
    """[P], into the expected answer."""
    actual: _Indices
    """[P], into the actual answer."""
    lost: _Indices
    """Expected candidates that have no partner and should."""
    invented: _Indices
    """Actual candidates that have no partner and should."""
    switched: int = 0
    """Relevant candidates whose place another candidate of their object took."""


def exact_pairs(
    expected: _Answer, actual: _Answer, tolerances: Mapping[str, float]
) -> Pairs:
    """Pair two lists of K candidates without regard to the order of equal scores.

    A candidate that is found again in its own place is paired at once. Every other
    takes the unused candidate of its label, within the score tolerance, whose box is
    nearest. The list is cut from a longer one: of candidates that tie with the last
    either may be in it, so one without partner counts only above that tie.
    """
    tolerance = tolerances["scores"]
    scores, found = expected["scores"], actual["scores"]
    in_place = expected["labels"] == actual["labels"]
    in_place &= np.abs(scores - found) <= tolerance
    in_place &= _box_gaps(expected["boxes"], actual["boxes"]) <= tolerances["boxes"]
    partner = np.where(in_place, np.arange(len(scores)), -1)
    free = ~in_place
    left = np.flatnonzero(free)
    for index in left[np.argsort(-scores[left], kind="stable")]:
        fits = free & (actual["labels"] == expected["labels"][index])
        fits &= np.abs(found - scores[index]) <= tolerance
        if not fits.any():
            continue
        choices = np.flatnonzero(fits)
        gaps = _box_gaps(actual["boxes"][choices], expected["boxes"][index])
        partner[index] = choices[gaps.argmin()]
        free[partner[index]] = False
    edge = _last(scores) + tolerance
    paired = np.flatnonzero(partner >= 0)
    return Pairs(
        expected=paired,
        actual=partner[paired],
        lost=np.flatnonzero((partner < 0) & ~(scores <= edge)),
        invented=np.flatnonzero(free & ~(found <= edge)),
    )


def relevant_pairs(
    expected: _Answer,
    actual: _Answer,
    tolerances: Mapping[str, float],
    relevant_score: float,
    switching: bool,
) -> Pairs:
    """Pair the relevant candidates of two answers of different precision.

    From the highest score down, each takes the unused candidate of its label on the
    same object (IoU of one half, or a box within tolerance) that differs least, in
    units of the tolerances. One without partner is lost, or invented, unless its
    score is within tolerance of the cut. With `switching`, a partner out of
    tolerance is a stand-in, and a stand-in may serve several: they are counted
    apart and are not among the pairs.
    """
    reach = relevant_score - tolerances["scores"]
    ours = np.flatnonzero(~(expected["scores"] < relevant_score))
    theirs = np.flatnonzero(~(actual["scores"] < reach))
    parts = []
    for label in np.union1d(expected["labels"][ours], actual["labels"][theirs]):
        rows = ours[expected["labels"][ours] == label]
        columns = theirs[actual["labels"][theirs] == label]
        likeness = _likeness(expected, actual, (rows, columns), tolerances)
        local = _label_pairs(likeness, expected["scores"][rows], switching)
        parts.append(
            Pairs(
                expected=rows[local.expected],
                actual=columns[local.actual],
                lost=rows[local.lost],
                invented=columns[local.invented],
                switched=local.switched,
            )
        )

    def is_clear(answer: _Answer, indices: _Indices, other: _Answer) -> _Array:
        cut = max(relevant_score, _last(other["scores"]))
        within = answer["scores"][indices] <= cut + tolerances["scores"]
        return np.asarray(~within)

    lost = _joined([part.lost for part in parts])
    invented = _joined([part.invented for part in parts])
    return Pairs(
        expected=_joined([part.expected for part in parts]),
        actual=_joined([part.actual for part in parts]),
        lost=lost[is_clear(expected, lost, actual)],
        invented=invented[is_clear(actual, invented, expected)],
        switched=sum(part.switched for part in parts),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Likeness:
    """How alike candidates of one label are, [R, A]."""

    cost: _Array
    """Largest difference in units of the tolerances; infinite: another object."""
    stand_in: _Array
    """Whether one could stand in for the other: same object, about the same score."""


def _likeness(
    expected: _Answer,
    actual: _Answer,
    chosen: tuple[_Indices, _Indices],
    tolerances: Mapping[str, float],
) -> _Likeness:
    rows, columns = chosen
    boxes = expected["boxes"][rows][:, None], actual["boxes"][columns][None]
    gaps = _box_gaps(*boxes) / max(tolerances["boxes"], _TINY)
    scores = expected["scores"][rows][:, None], actual["scores"][columns][None]
    score_gaps = np.abs(scores[0] - scores[1]) / max(tolerances["scores"], _TINY)
    same = (_ious(*boxes) >= _SAME_OBJECT_IOU) | (gaps <= 1)
    return _Likeness(
        cost=np.where(same, np.maximum(gaps, score_gaps), np.inf),
        stand_in=same & (score_gaps <= _STAND_IN_SCORES),
    )


def _label_pairs(likeness: _Likeness, scores: _Array, switching: bool) -> Pairs:
    """Pair the candidates of one label; indices are rows and columns of `likeness`."""
    cost = likeness.cost
    partner = np.full(cost.shape[0], -1)
    free = np.ones(cost.shape[1], dtype=bool)
    for row in np.argsort(-scores, kind="stable"):
        open_cost = np.where(free, cost[row], np.inf)
        if np.isfinite(open_cost).any():
            partner[row] = open_cost.argmin()
            free[partner[row]] = False
    alone, switched = partner < 0, np.zeros(len(partner), dtype=bool)
    if switching:
        rows = np.flatnonzero(~alone)
        own = rows, partner[rows]
        switched[rows] = (cost[own] > 1) & likeness.stand_in[own]
        switched |= alone & likeness.stand_in.any(axis=1)
        free &= ~likeness.stand_in.any(axis=0)
    paired = np.flatnonzero(~alone & ~switched)
    return Pairs(
        expected=paired,
        actual=partner[paired],
        lost=np.flatnonzero(alone & ~switched),
        invented=np.flatnonzero(free),
        switched=int(np.count_nonzero(switched)),
    )


def _box_gaps(first: _Array, second: _Array) -> _Array:
    """Return the largest coordinate difference of boxes [..., 4]; NaN is infinite."""
    gaps = np.abs(first.astype(np.float64) - second).max(axis=-1)
    return np.asarray(np.where(np.isnan(gaps), np.inf, gaps))


def _ious(first: _Array, second: _Array) -> _Array:
    """Return intersection over union of boxes [..., 4]; 0 where both are empty."""
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [
        np.clip(b[..., 2:] - b[..., :2], 0, None).prod(axis=-1) for b in (first, second)
    ]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, 1e-9))


def _last(scores: _Array) -> float:
    """Return the lowest score of a list, below which others were cut."""
    return float(scores.min()) if scores.size else 0.0


def _joined(parts: list[_Indices]) -> _Indices:
    return np.concatenate([np.zeros(0, dtype=np.intp), *parts]).astype(np.intp)
