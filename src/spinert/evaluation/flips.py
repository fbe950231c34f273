"""Decisions that differ between two sets of predictions of the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

import numpy as np

from spinert.evaluation.cases import Box, Prediction, ScoredBox
from spinert.evaluation.matching import overlaps_of
from spinert.evaluation.pairs import Pairs

__all__ = [
    "Cause",
    "FindingFlip",
    "ImageFlip",
    "counterparts",
    "finding_flips",
    "image_flips",
]

# Two findings of one class that overlap so far are the same one.
_SAME: Final = 0.5


@unique
class Cause(StrEnum):
    """Why a finding stands in one set and not in the other."""

    SCORE = "score"
    """Its score crosses the cut-off."""
    IMAGE = "image"
    """Its image is abnormal in one set only, which keeps what the other suppresses."""
    ABSENT = "absent"
    """It is kept and scores at least the cut-off, and has no counterpart."""


@dataclass(frozen=True, kw_only=True)
class ImageFlip:
    """An image that is abnormal by one set and normal by the other."""

    image_id: str
    truth: bool
    """Abnormal by annotation."""
    probability_a: float
    probability_b: float
    abnormal_a: bool
    abnormal_b: bool


@dataclass(frozen=True, kw_only=True)
class FindingFlip:
    """A finding on which a reader of A and a reader of B would not agree."""

    image_id: str
    label: str
    box: Box
    """By A where A has it."""
    score_a: float | None
    """None: A has no such finding."""
    score_b: float | None
    kept_a: bool
    kept_b: bool
    cause: Cause


def image_flips(a: Pairs, b: Pairs) -> tuple[ImageFlip, ...]:
    """Return the images whose decision differs, in the order of the cases."""
    return tuple(
        ImageFlip(
            image_id=case.image_id,
            truth=case.abnormal,
            probability_a=of_a.probability,
            probability_b=of_b.probability,
            abnormal_a=of_a.abnormal,
            abnormal_b=of_b.abnormal,
        )
        for case, of_a, of_b in zip(a.cases, a.predictions, b.predictions, strict=True)
        if of_a.abnormal != of_b.abnormal
    )


def finding_flips(a: Pairs, b: Pairs, cutoff: float) -> tuple[FindingFlip, ...]:
    """Return findings that are kept by one set only or cross the cut-off.

    A finding below the cut-off without a counterpart is none: detectors fill their
    list with such candidates, and which come last is a matter of rounding.
    """
    return tuple(
        flip
        for of_a, of_b in zip(a.predictions, b.predictions, strict=True)
        for flip in _flips(of_a, of_b, cutoff)
    )


def counterparts(
    a: Sequence[ScoredBox], b: Sequence[ScoredBox]
) -> Iterator[tuple[ScoredBox | None, ScoredBox | None]]:
    """Yield each finding of `a` and of `b` once, with its counterpart or None.

    Counterparts have the same class and an IoU of at least 0.5; those that overlap
    most are taken first.
    """
    overlaps = overlaps_of([x.box for x in a], [y.box for y in b])
    same = np.array([[x.label == y.label for y in b] for x in a], np.bool_)
    overlaps = np.where(same.reshape(overlaps.shape), overlaps, 0.0)
    free_a, free_b = dict(enumerate(a)), dict(enumerate(b))
    order = np.argsort(-overlaps, axis=None, kind="stable")
    for row, column in zip(*np.unravel_index(order, overlaps.shape), strict=True):
        if overlaps[row, column] < _SAME:
            break
        if row in free_a and column in free_b:
            yield free_a.pop(row), free_b.pop(column)
    yield from ((x, None) for x in free_a.values())
    yield from ((None, y) for y in free_b.values())


def _flips(a: Prediction, b: Prediction, cutoff: float) -> Iterator[FindingFlip]:
    if a.boxes == b.boxes:
        return
    for x, y in counterparts(a.boxes, b.boxes):
        cause = _cause(x, y, a.abnormal != b.abnormal, cutoff)
        shown = x or y
        if cause is None or shown is None:
            continue
        yield FindingFlip(
            image_id=a.image_id,
            label=shown.label,
            box=shown.box,
            score_a=None if x is None else x.score,
            score_b=None if y is None else y.score,
            kept_a=x is not None and x.kept,
            kept_b=y is not None and y.kept,
            cause=cause,
        )


def _cause(
    x: ScoredBox | None, y: ScoredBox | None, image_flips: bool, cutoff: float
) -> Cause | None:
    if x is None or y is None:
        alone = x or y
        is_seen = alone is not None and alone.kept and alone.score >= cutoff
        return Cause.ABSENT if is_seen else None
    if x.kept != y.kept:
        return Cause.IMAGE if image_flips else Cause.SCORE
    if (x.score >= cutoff) != (y.score >= cutoff):
        return Cause.SCORE
    return None
