"""Own matches and precisions, held to pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask
from support.scored_images import CLASSES, case, drawn_pairs, prediction

from spinert.evaluation.detection import detection_table
from spinert.evaluation.matching import IOUS, hits_of, matches_of, overlaps_of
from spinert.evaluation.pairs import Pairs
from spinert.evaluation.precision import (
    AT_50,
    average_precision,
    average_precisions,
    mean_over_classes,
)

BOXES = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 9)] * 2).map(
    lambda v: (float(v[0]), float(v[1]), float(v[0] + v[2]), float(v[1] + v[3]))
)
LABELS = st.sampled_from(CLASSES)
SCORES = st.one_of(st.sampled_from([0.1, 0.5, 0.9]), st.floats(0, 1, width=32))


@st.composite
def pairs_of_few_images(draw):
    count = draw(st.integers(1, 4))
    cases, predictions = [], []
    for index in range(count):
        lesions = draw(st.lists(st.tuples(LABELS, BOXES), max_size=4))
        found = draw(st.lists(st.tuples(LABELS, BOXES, SCORES), max_size=6))
        cases.append(case(str(index), *lesions))
        predictions.append(prediction(str(index), 0.5, *found))
    return Pairs(cases=tuple(cases), predictions=tuple(predictions))


def own_table(pairs, kept_only=False):
    """Return own AP, [class, IoU]."""
    return [
        [average_precision(m, iou=iou) for iou in range(len(IOUS))]
        for m in matches_of(pairs, CLASSES, kept_only=kept_only)
    ]


def assert_agrees_with_pycocotools(pairs, kept_only=False):
    table = detection_table(pairs, CLASSES, name="", kept_only=kept_only)
    for own, coco in zip(own_table(pairs, kept_only), table.classes, strict=True):
        if coco.ap50 is None:
            assert np.isnan(own).all()
            continue
        assert own[AT_50] == pytest.approx(coco.ap50, abs=1e-9)
        assert np.mean(own) == pytest.approx(coco.ap20_50, abs=1e-9)


@settings(max_examples=150)
@given(pairs_of_few_images())
def test_average_precision_is_that_of_pycocotools(pairs):
    assert_agrees_with_pycocotools(pairs)


@pytest.mark.parametrize("coarse", [False, True], ids=["distinct", "many ties"])
@pytest.mark.parametrize("kept_only", [False, True], ids=["detector", "framework"])
def test_average_precision_of_many_images_is_that_of_pycocotools(coarse, kept_only):
    assert_agrees_with_pycocotools(drawn_pairs(5, 120, coarse=coarse), kept_only)


def test_only_the_hundred_best_findings_of_an_image_and_class_count():
    lesion = ("Osteophytes", (0.0, 0.0, 10.0, 10.0))
    noise = [
        ("Osteophytes", (50.0, 50.0, 60.0, 60.0), 0.9 - index / 1000)
        for index in range(100)
    ]
    last = (*lesion, 0.1)
    pairs = Pairs(
        cases=(case("a", lesion),),
        predictions=(prediction("a", 0.5, *noise, last),),
    )
    assert own_table(pairs)[0][AT_50] == 0.0
    assert_agrees_with_pycocotools(pairs)


@pytest.mark.parametrize("seed", range(20))
def test_overlaps_are_those_of_pycocotools_to_the_last_bit(seed):
    random = np.random.default_rng(seed)
    corners, edges = random.uniform(0, 50, (12, 2)), random.uniform(1, 60, (12, 2))
    boxes = np.concatenate((corners, corners + edges), axis=1)
    as_coco = boxes.copy()
    as_coco[:, 2:] -= boxes[:, :2]
    expected = mask.iou(as_coco[:5].tolist(), as_coco[5:].tolist(), [0] * 7)
    first, second = map(tuple, boxes[:5]), map(tuple, boxes[5:])
    assert (overlaps_of(list(first), list(second)) == expected).all()


def test_of_two_lesions_overlapped_equally_the_last_is_taken():
    # COCOeval's choice decides whether the second finding still has a lesion.
    left, right = (0.0, 0.0, 10.0, 10.0), (10.0, 0.0, 20.0, 10.0)
    between, on_right = (0.0, 0.0, 20.0, 10.0), right
    assert hits_of([between, on_right], [left, right])[AT_50].tolist() == [True, False]
    pairs = Pairs(
        cases=(case("a", ("Osteophytes", left), ("Osteophytes", right)),),
        predictions=(
            prediction(
                "a", 0.5, ("Osteophytes", between, 0.9), ("Osteophytes", on_right, 0.8)
            ),
        ),
    )
    assert_agrees_with_pycocotools(pairs)


def test_a_finding_at_exactly_half_overlap_hits():
    lesion = (0.0, 0.0, 10.0, 10.0)
    half, less = (0.0, 0.0, 5.0, 10.0), (0.0, 0.0, 4.999, 10.0)
    assert hits_of([half], [lesion])[AT_50].tolist() == [True]
    assert hits_of([less], [lesion])[AT_50].tolist() == [False]
    assert hits_of([less], [lesion])[0].tolist() == [True]


def test_the_second_finding_of_a_lesion_is_no_hit():
    lesion = (0.0, 0.0, 10.0, 10.0)
    assert hits_of([lesion, lesion], [lesion])[AT_50].tolist() == [True, False]


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_counts_like_images_that_are_there_as_often(seed):
    pairs = drawn_pairs(seed, 12)
    counts = np.random.default_rng(seed).integers(0, 4, 12)
    repeated = [
        (copy, index) for index, count in enumerate(counts) for copy in range(count)
    ]
    resample = Pairs(
        cases=tuple(
            case(
                f"{index}.{copy}", *((b.label, b.box) for b in pairs.cases[index].boxes)
            )
            for copy, index in repeated
        ),
        predictions=tuple(
            prediction(
                f"{index}.{copy}",
                0.5,
                *((b.label, b.box, b.score) for b in pairs.predictions[index].boxes),
            )
            for copy, index in repeated
        ),
    )
    table = detection_table(resample, CLASSES, name="", kept_only=False)
    rows = np.stack([counts, np.ones_like(counts)]).astype(np.float64)
    weighted = [average_precisions(m, rows) for m in matches_of(pairs, CLASSES)]
    for values, coco in zip(weighted, table.classes, strict=True):
        expected = np.nan if coco.ap50 is None else coco.ap50
        assert values[0] == pytest.approx(expected, abs=1e-9, nan_ok=True)
    plain = [average_precision(m) for m in matches_of(pairs, CLASSES)]
    assert [v[1] for v in weighted] == pytest.approx(plain, abs=1e-12, nan_ok=True)


def test_a_class_without_lesions_does_not_lower_the_mean():
    table = [np.array([0.5, np.nan]), np.array([np.nan, np.nan]), np.array([0.1, 0.3])]
    assert mean_over_classes(table).tolist() == [0.3, 0.3]
    assert np.isnan(mean_over_classes(table[1:2])).all()
