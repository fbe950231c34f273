"""A threshold is chosen on one split, told with its price, and never on the test."""

from __future__ import annotations

import pytest
from support.bundles import tiny_spec
from support.evaluations import lesion

from spinert.evaluation.bootstrap import Bootstrap
from spinert.evaluation.calibrating import (
    Aim,
    calibrated,
    note_of,
    require_no_test_split,
)
from spinert.evaluation.cases import Case, Prediction, ScoredBox
from spinert.evaluation.errors import SplitError
from spinert.evaluation.pairs import Pairs
from spinert.evaluation.subject import Rules
from spinert.proto import bundle_pb2 as pb

FEW = Bootstrap(resamples=50)


def pairs_of(normal, abnormal, best_box=None):
    entries = [(p, False) for p in normal] + [(p, True) for p in abnormal]
    cases, predictions = [], []
    for number, (probability, is_abnormal) in enumerate(entries):
        name = f"image{number}"
        cases.append(
            Case(image_id=name, path=None, abnormal=is_abnormal, boxes=())  # type: ignore[arg-type]
        )
        boxes = ()
        score = None if best_box is None else best_box[number]
        if score is not None:
            truth = lesion()
            boxes = (
                ScoredBox(label=truth.label, box=truth.box, score=score, kept=True),
            )
        predictions.append(
            Prediction(
                image_id=name,
                members=(probability,),
                probability=probability,
                abnormal=probability >= 0.28,
                boxes=boxes,
            )
        )
    return Pairs(cases=tuple(cases), predictions=tuple(predictions))


def rules(**fusion) -> Rules:
    spec = tiny_spec()
    spec.fusion.MergeFrom(pb.Fusion(**fusion))
    return Rules(decision=spec.decision, fusion=spec.fusion)


def test_before_and_after_are_told_on_the_same_images():
    pairs = pairs_of([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8])
    found = calibrated(pairs, rules(), Aim(), FEW)
    assert found.before.threshold == 0.28
    assert (found.before.sensitivity, found.before.specificity) == (1.0, 0.5)
    assert found.after.threshold == 0.5
    assert (found.after.sensitivity, found.after.specificity) == (1.0, 1.0)
    assert found.change.threshold == 0.5
    assert (found.images, found.abnormal) == (8, 4)


def test_overlapping_images_get_a_band_between_ruling_out_and_ruling_in():
    pairs = pairs_of([0.1, 0.2, 0.3, 0.6], [0.25, 0.5, 0.7, 0.8])
    found = calibrated(pairs, rules(), Aim(), FEW)
    low, high = found.change.uncertain
    assert low <= 0.25
    assert high > 0.6
    assert found.after.uncertain_share == 4 / 8


@pytest.mark.parametrize(
    ("aim", "band"),
    [
        (Aim(), (0.25, 0.9)),
        (Aim(sensitivity=0.75), (0.5, 0.9)),
        (Aim(specificity=0.75), (0.25, 0.5)),
    ],
)
def test_the_band_is_as_wide_as_what_is_asked_of_it(aim, band):
    pairs = pairs_of([0.1, 0.2, 0.3, 0.9], [0.25, 0.5, 0.7, 0.8])
    assert calibrated(pairs, rules(), aim, FEW).change.uncertain == pytest.approx(band)


def test_a_bundle_that_asks_for_above_gets_a_threshold_just_below():
    pairs = pairs_of([0.1, 0.2], [0.5, 0.6])
    strict = rules()
    strict.decision.comparison = pb.GREATER
    found = calibrated(pairs, strict, Aim(has_band=False), FEW)
    assert 0.4999 < found.after.threshold < 0.5
    assert (found.after.sensitivity, found.after.specificity) == (1.0, 1.0)
    assert found.change.uncertain == (found.after.threshold,) * 2


def test_reverse_fusion_is_calibrated_on_its_own_score():
    # The probability alone cannot tell these apart, the boxes can.
    pairs = pairs_of([0.5, 0.4], [0.5, 0.6], best_box=[0.0, 0.1, 0.9, 0.8])
    reverse = pb.ReverseFusion(threshold=0.9, no_box_score=0)
    found = calibrated(pairs, rules(reverse=reverse), Aim(), FEW)
    assert found.before.threshold == 0.9
    assert found.after.threshold == pytest.approx(0.7)
    assert (found.after.sensitivity, found.after.specificity) == (1.0, 1.0)


def test_under_reverse_fusion_the_band_is_on_the_probability():
    # The fused score separates these, so that a band on it would be empty.
    pairs = pairs_of([0.1, 0.6], [0.5, 0.7], best_box=[0.0, 0.0, 0.9, 0.9])
    reverse = pb.ReverseFusion(threshold=0.6, no_box_score=0)
    found = calibrated(pairs, rules(reverse=reverse), Aim(), FEW)
    assert found.after.threshold == pytest.approx(0.7)
    assert found.change.uncertain == pytest.approx((0.5, 0.7))
    assert found.after.uncertain_share == 2 / 4


def test_under_reverse_fusion_an_image_without_boxes_has_the_bundles_score():
    pairs = pairs_of([0.1, 0.2], [0.5, 0.6], best_box=[0.0, 0.0, None, 0.8])
    reverse = pb.ReverseFusion(threshold=0.4, no_box_score=0.3)
    found = calibrated(pairs, rules(reverse=reverse), Aim(), FEW)
    assert found.after.threshold == pytest.approx((0.5 + 0.3) / 2)


def test_one_class_cannot_be_calibrated_on():
    with pytest.raises(SplitError, match="no image is normal"):
        calibrated(pairs_of([], [0.1, 0.9]), rules(), Aim(), FEW)


@pytest.mark.parametrize("name", ["test", "Test", "test_2", "testing"])
def test_the_test_split_is_refused_by_any_name(name):
    with pytest.raises(SplitError, match="--allow-test-split"):
        require_no_test_split("val", name)


def test_other_splits_are_accepted():
    require_no_test_split("train", "val", "latest")


@pytest.mark.parametrize("value", [0.0, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(value):
    with pytest.raises(SplitError, match="--specificity"):
        Aim(specificity=value)


def test_the_note_names_the_evidence():
    pairs = pairs_of([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8])
    note = note_of(calibrated(pairs, rules(), Aim(), FEW), split="val", precision="x")
    for words in ("0.28 -> 0.5", "8 images of split 'val' (4 abnormal)", "in x"):
        assert words in note
