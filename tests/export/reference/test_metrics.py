"""Quick measures, against counting pairs and against pycocotools."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from spinert.export.reference.metrics import (
    Detections,
    area_under_roc,
    average_precision,
)


def test_the_area_counts_pairs_in_the_right_order() -> None:
    random = np.random.default_rng(1)
    scores = random.integers(0, 12, 60).astype(np.float64)  # with ties
    positive = random.random(60) < 0.4
    pairs = scores[positive][:, None] - scores[~positive][None]
    expected = (pairs > 0).mean() + 0.5 * (pairs == 0).mean()
    assert area_under_roc(scores, positive) == pytest.approx(expected, abs=1e-12)


def test_the_area_of_one_class_is_undefined() -> None:
    assert np.isnan(area_under_roc(np.zeros(3), np.ones(3, np.bool_)))


def drawn(seed: int, frames: int = 12) -> tuple[list[Detections], list[Detections]]:
    """Return boxes near and far from true ones, best first, with unequal scores."""
    random = np.random.default_rng(seed)
    found, true = [], []
    for _ in range(frames):
        lesions = random.integers(0, 5)
        low = random.uniform(0, 150, (lesions, 2))
        boxes = np.hstack((low, low + random.uniform(20, 60, (lesions, 2))))
        true.append(Detections(boxes=boxes, scores=np.ones(lesions)))
        near = boxes.repeat(2, axis=0) + random.uniform(-9, 9, (2 * lesions, 4))
        far = random.uniform(0, 150, (3, 2))
        near = np.vstack((near, np.hstack((far, far + 30))))
        scores = np.sort(random.random(len(near)))[::-1].copy()
        found.append(Detections(boxes=random.permutation(near), scores=scores))
    return found, true


def of_coco(found: list[Detections], true: list[Detections]) -> float:
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")

    def as_xywh(box):
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    lesions = [
        {"image_id": i, "category_id": 1, "bbox": as_xywh(box), "iscrowd": 0}
        | {"area": float(np.prod(box[2:] - box[:2]))}
        for i, frame in enumerate(true)
        for box in frame.boxes
    ]
    answers = [
        {"image_id": i, "category_id": 1, "bbox": as_xywh(box), "score": float(score)}
        for i, frame in enumerate(found)
        for box, score in zip(frame.boxes, frame.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "images": [{"id": i} for i in range(len(true))],
            "categories": [{"id": 1}],
            "annotations": [{**a, "id": n} for n, a in enumerate(lesions, start=1)],
        }
        truth.createIndex()
        evaluation = cocoeval.COCOeval(truth, truth.loadRes(answers), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"][0, :, 0, 0, -1].mean())


@pytest.mark.parametrize("seed", range(3))
def test_the_average_precision_is_that_of_coco(seed) -> None:
    found, true = drawn(seed)
    measured = average_precision(found, true)
    assert 0.05 < measured < 0.95
    assert measured == pytest.approx(of_coco(found, true), abs=1e-12)


def test_a_class_without_lesions_has_no_precision() -> None:
    empty = Detections(boxes=np.zeros((0, 4)), scores=np.zeros(0))
    found, _ = drawn(1, frames=2)
    assert np.isnan(average_precision(found, [empty, empty]))
    assert average_precision([empty, empty], found) == 0.0
