"""Annotated images with predictions, written by hand or drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spinert.evaluation.cases import Case, LabelledBox, Prediction, ScoredBox
from spinert.evaluation.pairs import Pairs

CLASSES = ("Osteophytes", "Surgical implant", "Other lesions")


def case(image_id: str, *boxes: tuple, abnormal: bool | None = None) -> Case:
    """Build a case of boxes (label, box); abnormal where there is one."""
    return Case(
        image_id=image_id,
        path=Path(f"{image_id}.dicom"),
        abnormal=bool(boxes) if abnormal is None else abnormal,
        boxes=tuple(LabelledBox(label=label, box=box) for label, box in boxes),
    )


def prediction(
    image_id: str,
    probability: float,
    *boxes: tuple,
    abnormal: bool | None = None,
    members: Sequence[float] | None = None,
) -> Prediction:
    """Build a prediction of boxes (label, box, score[, kept]), abnormal from 0.5 on."""
    return Prediction(
        image_id=image_id,
        members=(probability,) if members is None else tuple(members),
        probability=probability,
        abnormal=probability >= 0.5 if abnormal is None else abnormal,
        boxes=tuple(
            ScoredBox(label=label, box=box, score=score, kept=all(kept))
            for label, box, score, *kept in boxes
        ),
    )


def classified(truth: Sequence[bool], probabilities: Sequence[float]) -> Pairs:
    """Build images that only a classifier has seen."""
    names = [str(index) for index in range(len(truth))]
    return Pairs(
        cases=tuple(
            case(name, abnormal=bool(is_abnormal))
            for name, is_abnormal in zip(names, truth, strict=True)
        ),
        predictions=tuple(
            prediction(name, float(p))
            for name, p in zip(names, probabilities, strict=True)
        ),
    )


def drawn_pairs(seed: int, images: int, *, coarse: bool = False) -> Pairs:
    """Draw images with lesions, near hits, false alarms and missed ones.

    Fusion is applied with threshold 0.5 and cut-off 0.5.

    Args:
        seed: Of everything.
        images: How many.
        coarse: Whole numbers of pixels and few different scores: many ties.
    """
    random = np.random.default_rng(seed)
    cases, predictions = [], []
    for index in range(images):
        lesions = [
            (str(random.choice(CLASSES)), _box(random, coarse))
            for _ in range(random.integers(0, 4))
        ]
        p = float(np.clip(random.normal(0.65 if lesions else 0.35, 0.2), 0, 1))
        found = []
        for label, box in lesions:
            for _ in range(random.integers(0, 3)):
                moved = _moved(random, box, coarse)
                found.append((label, moved, _score(random, coarse)))
        for _ in range(random.integers(0, 4)):
            label = str(random.choice(CLASSES))
            found.append((label, _box(random, coarse), _score(random, coarse)))
        kept = [(*entry, p >= 0.5 or entry[2] >= 0.5) for entry in found]
        cases.append(case(f"image{index}", *lesions))
        members = np.clip(p + random.normal(0, 0.1, 3), 0, 1).tolist()
        predictions.append(prediction(f"image{index}", p, *kept, members=members))
    return Pairs(cases=tuple(cases), predictions=tuple(predictions))


def _box(random: np.random.Generator, coarse: bool) -> tuple:
    corner, edges = random.uniform(0, 60, 2), random.uniform(8, 40, 2)
    if coarse:
        corner, edges = corner // 8 * 8, edges // 8 * 8
    return tuple(np.concatenate((corner, corner + edges)).tolist())


def _moved(random: np.random.Generator, box: tuple, coarse: bool) -> tuple:
    shift = random.normal(0, 5, 4)
    if coarse:
        shift = shift // 4 * 4
    xmin, ymin, xmax, ymax = np.array(box) + shift
    return (
        float(min(xmin, xmax - 1)),
        float(min(ymin, ymax - 1)),
        float(xmax),
        float(ymax),
    )


def _score(random: np.random.Generator, coarse: bool) -> float:
    score = float(random.uniform(0, 1))
    return round(score, 1) if coarse else score
