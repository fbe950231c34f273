"""Which candidate of one answer is which of another? Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Pairs", "exact_pairs", "object_pairs", "relevant_pairs"]

_Array = npt.NDArray[Any]
_Answer = Mapping[str, _Array]
_Indices = npt.NDArray[np.intp]

_SAME_OBJECT_IOU: Final = 0.5
_TINY: Final = 1e-12
"""In place of a tolerance of zero, to divide by."""


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
    """Relevant candidates of either answer that came or went with a proposal."""


def exact_pairs(
    expected: _Answer,
    actual: _Answer,
    tolerances: Mapping[str, float],
    score_floor: float = 0.0,
) -> Pairs:
    """Pair two lists of K candidates without regard to the order of equal scores.

    Candidates below the floor are not looked at: nobody will see them, and where a
    network keeps the best of every level, which of two equals came last is chance.

    A candidate that is found again in its own place is paired at once. Every other
    takes the unused candidate of its label, within the score tolerance, whose box is
    nearest. The list is cut from a longer one: of candidates that tie with the last
    either may be in it, so one without partner counts only above that tie, and two
    boxes in it that are apart are no pair.
    """
    tolerance = tolerances["scores"]
    scores, found = expected["scores"], actual["scores"]
    in_place = expected["labels"] == actual["labels"]
    in_place &= np.abs(scores - found) <= tolerance
    in_place &= _box_gaps(expected["boxes"], actual["boxes"]) <= tolerances["boxes"]
    partner = np.where(in_place, np.arange(len(scores)), -1)
    free = ~in_place
    edge = max(_last(expected), score_floor) + tolerance
    seen = ~(scores < score_floor)
    left = np.flatnonzero(free & seen)
    for index in left[np.argsort(-scores[left], kind="stable")]:
        fits = free & (actual["labels"] == expected["labels"][index])
        fits &= np.abs(found - scores[index]) <= tolerance
        if not fits.any():
            continue
        choices = np.flatnonzero(fits)
        gaps = _box_gaps(actual["boxes"][choices], expected["boxes"][index])
        nearest = choices[gaps.argmin()]
        if (
            gaps.min() > tolerances["boxes"]
            and max(scores[index], found[nearest]) <= edge
        ):
            continue
        partner[index] = nearest
        free[nearest] = False
    paired = np.flatnonzero((partner >= 0) & seen)
    return Pairs(
        expected=paired,
        actual=partner[paired],
        lost=np.flatnonzero((partner < 0) & _above(scores, edge)),
        invented=np.flatnonzero(free & _above(found, edge)),
    )


def relevant_pairs(
    expected: _Answer,
    actual: _Answer,
    tolerances: Mapping[str, float],
    relevant_score: float,
    unsure_below: float,
) -> Pairs:
    """Pair the relevant candidates of two answers of different precision.

    Those that differ least, in units of the tolerances, become partners first; both
    have one label and lie on one object (IoU of one half, or a box within tolerance).
    One without partner is lost, or invented, unless its score is within tolerance
    of the cut; there it need not take a partner that is out of tolerance.

    With `unsure_below` above 0 the network suppresses its own proposals, and rounding
    may keep another one of two. What then has no partner within tolerance is counted
    as switched; it is lost, or invented, only if its score is higher and nothing
    of its label is on its object any more.
    """
    tolerance = tolerances["scores"]
    ours = np.flatnonzero(~(expected["scores"] < relevant_score))
    theirs = np.flatnonzero(~(actual["scores"] < relevant_score - tolerance))
    cuts = [max(relevant_score, _last(a)) + tolerance for a in (actual, expected)]
    parts = []
    for label in np.union1d(expected["labels"][ours], actual["labels"][theirs]):
        rows = ours[expected["labels"][ours] == label]
        columns = theirs[actual["labels"][theirs] == label]
        cost = _costs(expected, actual, (rows, columns), tolerances)
        sides = (
            _Side.of(expected, rows, cuts[0], unsure_below),
            _Side.of(actual, columns, cuts[1], unsure_below),
        )
        local = _label_pairs(cost, *sides, unsure_below > 0)
        parts.append(
            Pairs(
                expected=rows[local.expected],
                actual=columns[local.actual],
                lost=rows[local.lost],
                invented=columns[local.invented],
                switched=local.switched,
            )
        )
    return Pairs(
        expected=_joined([part.expected for part in parts]),
        actual=_joined([part.actual for part in parts]),
        lost=_joined([part.lost for part in parts]),
        invented=_joined([part.invented for part in parts]),
        switched=sum(part.switched for part in parts),
    )


def object_pairs(expected: _Answer, actual: _Answer) -> Pairs:
    """Pair the findings of two networks that are not meant to answer alike.

    Of one label and on one object (IoU of one half), those that overlap most first.
    There are no tolerances: every other finding is lost, or invented.
    """
    ious = _ious(expected["boxes"][:, None], actual["boxes"][None])
    same = expected["labels"][:, None] == actual["labels"][None]
    same &= ious >= _SAME_OBJECT_IOU
    partner = _nearest_first(np.where(same, -ious, np.inf))
    paired = np.flatnonzero(partner >= 0)
    alone = np.setdiff1d(np.arange(len(actual["scores"])), partner[paired])
    return Pairs(
        expected=paired,
        actual=partner[paired],
        lost=np.flatnonzero(partner < 0),
        invented=alone,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    """The candidates of one answer and one label, [R]."""

    clear: _Array
    """Whether a score is clear of the cut: its candidate must be found again."""
    sure: _Array
    """Whether it must be even if its proposal is not; a broken box cannot be."""

    @classmethod
    def of(
        cls, answer: _Answer, rows: _Indices, cut: float, unsure_below: float
    ) -> _Side:
        scores = answer["scores"][rows]
        broken = ~np.isfinite(answer["boxes"][rows]).all(axis=-1)
        sure = _above(scores, unsure_below) | broken
        return cls(clear=_above(scores, cut) | broken, sure=sure)


def _costs(
    expected: _Answer,
    actual: _Answer,
    chosen: tuple[_Indices, _Indices],
    tolerances: Mapping[str, float],
) -> _Array:
    """Return how candidates of one label differ, in units of the tolerances, [R, A].

    Infinite where they are not on the same object.
    """
    rows, columns = chosen
    boxes = expected["boxes"][rows][:, None], actual["boxes"][columns][None]
    gaps = _box_gaps(*boxes) / max(tolerances["boxes"], _TINY)
    scores = expected["scores"][rows][:, None], actual["scores"][columns][None]
    score_gaps = np.abs(scores[0] - scores[1]) / max(tolerances["scores"], _TINY)
    same = (_ious(*boxes) >= _SAME_OBJECT_IOU) | (gaps <= 1)
    worst = np.maximum(gaps, score_gaps)
    return np.where(same & np.isfinite(worst), worst, np.inf)


def _label_pairs(cost: _Array, ours: _Side, theirs: _Side, switching: bool) -> Pairs:
    """Pair the candidates of one label; indices are rows and columns of `cost`."""
    optional = switching | ~(ours.clear[:, None] & theirs.clear[None])
    partner = _nearest_first(np.where(optional & (cost > 1), np.inf, cost))
    paired = np.flatnonzero(partner >= 0)
    lost, invented = ours.clear.copy(), theirs.clear.copy()
    lost[paired] = False
    invented[partner[paired]] = False
    switched = 0
    if switching:
        switched = int(np.count_nonzero(lost) + np.count_nonzero(invented))
        seen = np.isfinite(cost)
        lost &= ours.sure & ~seen.any(axis=1)
        invented &= theirs.sure & ~seen.any(axis=0)
    return Pairs(
        expected=paired,
        actual=partner[paired],
        lost=np.flatnonzero(lost),
        invented=np.flatnonzero(invented),
        switched=switched,
    )


def _nearest_first(cost: _Array) -> _Indices:
    """Return the column of each row, -1: none; the least cost of all pairs first.

    Costs are numbers or infinite. Every round takes all pairs that are each other's
    least, which is the same.
    """
    cost = cost.copy()
    partner = np.full(cost.shape[0], -1)
    while np.isfinite(cost).any():
        best = cost.argmin(axis=1)
        rows = np.arange(len(best))
        mutual = (cost.argmin(axis=0)[best] == rows) & np.isfinite(cost[rows, best])
        partner[mutual] = best[mutual]
        cost[mutual] = np.inf
        cost[:, best[mutual]] = np.inf
    return partner


def _box_gaps(first: _Array, second: _Array) -> _Array:
    """Return the largest coordinate difference of boxes [..., 4]."""
    return np.asarray(np.abs(first.astype(np.float64) - second).max(axis=-1))


def _ious(first: _Array, second: _Array) -> _Array:
    """Return intersection over union of boxes [..., 4]; 0 where both are empty."""
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [
        np.clip(b[..., 2:] - b[..., :2], 0, None).prod(axis=-1) for b in (first, second)
    ]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, 1e-9))


def _last(answer: _Answer) -> float:
    """Return the lowest score of a list, below which others were cut."""
    scores = answer["scores"]
    return float(scores.min()) if scores.size else 0.0


def _above(scores: _Array, cut: float) -> _Array:
    """Tell which scores are clear of a cut; one that is not a number is."""
    return np.asarray(~(scores <= cut))


def _joined(parts: list[_Indices]) -> _Indices:
    return np.concatenate([np.zeros(0, dtype=np.intp), *parts]).astype(np.intp)
