"""Which findings hit a lesion: matched once, counted many times.

The rules are those of pycocotools' COCOeval, and so are the figures (the tests hold
them to 1e-9); but a match is a value here, so that the fusion sweep and the bootstrap
need not match again. That is right because a match depends only on findings with a
higher score in the same image, and fusion removes the lowest scores first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from spinert.evaluation.cases import Box, LabelledBox, ScoredBox
from spinert.evaluation.pairs import Pairs

__all__ = [
    "IOUS",
    "MAX_DETECTIONS",
    "ClassMatches",
    "hits_of",
    "matches_of",
    "overlaps_of",
]

IOUS: Final = tuple(np.linspace(0.2, 0.5, 7).tolist())
"""As the official code's SPINE.IOU_THRESHOLD = (0.2, 0.5); the last is 0.5."""

MAX_DETECTIONS: Final = 100
"""For each image and class."""

_Labelled = TypeVar("_Labelled", LabelledBox, ScoredBox)
Bools = NDArray[np.bool_]
Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ClassMatches:
    """All D findings of one class in N images, best score first."""

    label: str
    scores: Values
    """[D], falling; equal scores in the order of images."""
    images: NDArray[np.intp]
    """[D], position of the image of each finding."""
    hits: Bools
    """[len(IOUS), D]: matches a lesion of its own."""
    truths: NDArray[np.intp]
    """[N], annotated lesions of each image."""


def matches_of(
    pairs: Pairs, classes: Sequence[str], *, kept_only: bool = False
) -> tuple[ClassMatches, ...]:
    """Match findings to lesions, class by class.

    Args:
        pairs: N images.
        classes: Names; findings and lesions of other names are not looked at.
        kept_only: The whole framework: without what fusion suppressed.
    """
    truths = [_by_label(case.boxes) for case in pairs.cases]
    found = [
        _by_label(b for b in prediction.boxes if b.kept or not kept_only)
        for prediction in pairs.predictions
    ]
    return tuple(
        _class_matches(
            label,
            [image.get(label, []) for image in truths],
            [image.get(label, []) for image in found],
        )
        for label in classes
    )


def _by_label(boxes: Iterable[_Labelled]) -> dict[str, list[_Labelled]]:
    grouped = defaultdict(list)
    for box in boxes:
        grouped[box.label].append(box)
    return grouped


def _class_matches(
    label: str,
    truths: Sequence[Sequence[LabelledBox]],
    found: Sequence[Sequence[ScoredBox]],
) -> ClassMatches:
    scores, images, hits = [np.empty(0)], [], [np.empty((len(IOUS), 0), np.bool_)]
    for lesions, findings in zip(truths, found, strict=True):
        best = sorted(findings, key=lambda b: -b.score)[:MAX_DETECTIONS]
        scores.append(np.array([b.score for b in best]))
        images.append(len(best))
        hits.append(hits_of([b.box for b in best], [t.box for t in lesions]))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return ClassMatches(
        label=label,
        scores=np.concatenate(scores)[order],
        images=np.repeat(np.arange(len(images)), images)[order],
        hits=np.concatenate(hits, axis=1)[:, order],
        truths=np.array([len(lesions) for lesions in truths], np.intp),
    )


def hits_of(findings: Sequence[Box], lesions: Sequence[Box]) -> Bools:
    """Return which findings of one image and class hit, [len(IOUS), D].

    Each finding, best first, takes the free lesion it overlaps most, if the overlap
    reaches the IoU; of equal overlaps the last, as COCOeval does.

    Args:
        findings: D boxes, best score first.
        lesions: G boxes.
    """
    hits = np.zeros((len(IOUS), len(findings)), np.bool_)
    if not findings or not lesions:
        return hits
    overlaps = overlaps_of(findings, lesions)
    needed = np.array(IOUS)
    taken = np.zeros((len(IOUS), len(lesions)), np.bool_)
    each = np.arange(len(IOUS))
    for index in np.flatnonzero(overlaps.max(axis=1) >= needed.min()):
        free = np.where(taken, -1.0, overlaps[index])
        best = len(lesions) - 1 - np.argmax(free[:, ::-1], axis=1)
        reached = free[each, best] >= needed
        hits[reached, index] = True
        taken[each[reached], best[reached]] = True
    return hits


def overlaps_of(first: Sequence[Box], second: Sequence[Box]) -> Values:
    """Return intersection over union of D and G boxes, [D, G]."""
    a = np.array(first, np.float64).reshape(-1, 1, 4)
    b = np.array(second, np.float64).reshape(1, -1, 4)
    # From x, y, width, height, and in pycocotools' order: equal to the last bit.
    a_edges, b_edges = a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2]
    far = np.minimum(a[..., :2] + a_edges, b[..., :2] + b_edges)
    edges = np.maximum(far - np.maximum(a[..., :2], b[..., :2]), 0.0)
    shared: Values = edges.prod(axis=-1)
    union = a_edges.prod(axis=-1) + b_edges.prod(axis=-1) - shared
    overlaps: Values = np.divide(
        shared, union, out=np.zeros_like(shared), where=shared > 0
    )
    return overlaps
