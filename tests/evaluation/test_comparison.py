"""Two sets of predictions: paired intervals and every decision that flips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from support.scored_images import CLASSES, case, drawn_pairs, prediction

from spinert.evaluation.bootstrap import Bootstrap
from spinert.evaluation.comparison import compared
from spinert.evaluation.detection import detection_table
from spinert.evaluation.errors import PredictionError
from spinert.evaluation.flips import Cause, counterparts, finding_flips
from spinert.evaluation.pairs import Pairs

HERE, THERE = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
NEAR = (0.0, 1.0, 10.0, 11.0)
OSTEOPHYTES, IMPLANT, OTHER = CLASSES
FEW = Bootstrap(resamples=300)


def compare(a, b, **options):
    options = {"cutoff": 0.5, "bootstrap": FEW, "detection_bootstrap": FEW} | options
    return compared(a, b, CLASSES, **options)


def noisy(pairs, sigma, seed=1):
    """Return `pairs` with probabilities and scores moved a little."""
    random = np.random.default_rng(seed)

    def moved(value):
        return float(np.clip(value + random.normal(0, sigma), 0, 1))

    predictions = []
    for old in pairs.predictions:
        p = moved(old.probability)
        boxes = []
        for box in old.boxes:
            score = moved(box.score)
            boxes.append(replace(box, score=score, kept=p >= 0.5 or score >= 0.5))
        predictions.append(
            replace(old, probability=p, abnormal=p >= 0.5, boxes=tuple(boxes))
        )
    return replace(pairs, predictions=tuple(predictions))


def one_image(*findings, probability=0.9):
    return Pairs(
        cases=(case("a"),), predictions=(prediction("a", probability, *findings),)
    )


def flip(a, b):
    (found,) = finding_flips(a, b, 0.5)
    return found


def test_a_set_compared_with_itself_differs_by_nothing_at_all():
    pairs = drawn_pairs(1, 40)
    found = compare(pairs, pairs)
    for difference in (found.auroc, found.map50, found.detector_map50):
        assert difference.a == difference.b
        estimate = difference.difference
        assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)
    assert found.max_probability_difference == 0.0
    assert found.image_flips == ()
    assert found.finding_flips == ()


def test_figures_are_those_of_each_set_and_the_difference_is_b_minus_a():
    a = drawn_pairs(2, 80)
    b = noisy(a, 0.2)
    found = compare(a, b)
    for difference, kept_only in ((found.map50, True), (found.detector_map50, False)):
        maps = [
            detection_table(each, CLASSES, name="", kept_only=kept_only).map50.value
            for each in (a, b)
        ]
        assert (difference.a, difference.b) == pytest.approx(tuple(maps), abs=1e-9)
        assert difference.difference.value == pytest.approx(maps[1] - maps[0])
    aurocs = [roc_auc_score(each.truth, each.probabilities) for each in (a, b)]
    assert (found.auroc.a, found.auroc.b) == pytest.approx(tuple(aurocs), abs=1e-9)
    assert found.auroc.difference.value == pytest.approx(aurocs[1] - aurocs[0])
    assert found.max_probability_difference == pytest.approx(
        abs(a.probabilities - b.probabilities).max()
    )


def test_the_paired_interval_of_small_changes_is_narrow():
    a = drawn_pairs(3, 80)
    alone = compare(a, drawn_pairs_like(a)).auroc.difference
    little = compare(a, noisy(a, 0.005)).auroc.difference
    assert little.high - little.low < (alone.high - alone.low) / 4
    assert little.low <= little.value <= little.high


def test_the_interval_of_a_worse_classifier_lies_below_zero():
    a = drawn_pairs(3, 80)
    turned = [replace(p, probability=1 - p.probability) for p in a.predictions]
    gap = compare(a, replace(a, predictions=tuple(turned))).auroc.difference
    assert gap.low < gap.value < gap.high < 0


def drawn_pairs_like(pairs):
    """Return predictions that have nothing to do with those of `pairs`."""
    return noisy(pairs, 0.5, seed=9)


def test_where_figures_are_undefined_the_flips_are_still_listed():
    a = one_image((OSTEOPHYTES, HERE, 0.8))
    found = compare(a, one_image(probability=0.4))
    for difference in (found.auroc, found.map50, found.detector_map50):
        assert (difference.a, difference.b, difference.difference.value) == (None,) * 3
        assert difference.difference.reason
    assert len(found.image_flips) == len(found.finding_flips) == 1


def test_sets_of_other_images_are_refused():
    with pytest.raises(PredictionError, match="same annotated images"):
        compare(drawn_pairs(1, 4), drawn_pairs(2, 4))


def test_every_image_whose_decision_differs_is_listed():
    a = drawn_pairs(5, 60)
    b = noisy(a, 0.1)
    found = {f.image_id: f for f in compare(a, b).image_flips}
    expected = [
        (x, y)
        for x, y in zip(a.predictions, b.predictions, strict=True)
        if x.abnormal != y.abnormal
    ]
    assert len(found) == len(expected) > 0
    truths = {c.image_id: c.abnormal for c in a.cases}
    for x, y in expected:
        entry = found[x.image_id]
        assert (entry.probability_a, entry.probability_b) == (
            x.probability,
            y.probability,
        )
        assert (entry.abnormal_a, entry.abnormal_b) == (x.abnormal, y.abnormal)
        assert entry.truth is truths[x.image_id]


def test_a_finding_whose_score_crosses_the_cut_off_is_a_flip():
    found = flip(
        one_image((OSTEOPHYTES, HERE, 0.51)), one_image((OSTEOPHYTES, NEAR, 0.49))
    )
    assert (found.cause, found.box) == (Cause.SCORE, HERE)
    assert (found.score_a, found.score_b) == (0.51, 0.49)
    assert (found.kept_a, found.kept_b) == (True, True)


def test_a_score_right_at_the_cut_off_is_not_below_it():
    at = one_image((OSTEOPHYTES, HERE, 0.5))
    assert flip(at, one_image((OSTEOPHYTES, HERE, 0.49))).cause is Cause.SCORE
    assert finding_flips(at, one_image((OSTEOPHYTES, HERE, 0.51)), 0.5) == ()
    assert flip(at, one_image()).cause is Cause.ABSENT


def test_findings_that_overlap_by_half_are_the_same_one_and_by_less_are_not():
    whole = one_image((OSTEOPHYTES, HERE, 0.8))
    half = one_image((OSTEOPHYTES, (0.0, 0.0, 10.0, 5.0), 0.8))
    less = one_image((OSTEOPHYTES, (0.0, 0.0, 10.0, 4.9), 0.8))
    assert finding_flips(whole, half, 0.5) == ()
    causes = [found.cause for found in finding_flips(whole, less, 0.5)]
    assert causes == [Cause.ABSENT, Cause.ABSENT]


def test_a_finding_kept_by_one_set_only_in_an_image_both_call_alike_says_so():
    found = flip(
        one_image((OSTEOPHYTES, HERE, 0.51)),
        one_image((OSTEOPHYTES, HERE, 0.49, False)),
    )
    assert (found.cause, found.kept_a, found.kept_b) == (Cause.SCORE, True, False)


def test_a_finding_that_goes_with_its_images_decision_says_so():
    found = flip(
        one_image((OSTEOPHYTES, HERE, 0.3), probability=0.51),
        one_image((OSTEOPHYTES, HERE, 0.3, False), probability=0.49),
    )
    assert (found.cause, found.kept_a, found.kept_b) == (Cause.IMAGE, True, False)


def test_a_confident_finding_without_a_counterpart_is_a_flip():
    only_b = flip(one_image(), one_image((IMPLANT, THERE, 0.8)))
    assert (only_b.cause, only_b.score_a, only_b.kept_a) == (Cause.ABSENT, None, False)
    assert (only_b.box, only_b.score_b, only_b.kept_b) == (THERE, 0.8, True)
    only_a = flip(one_image((IMPLANT, THERE, 0.8)), one_image())
    assert (only_a.score_a, only_a.score_b) == (0.8, None)


def test_a_faint_or_suppressed_finding_without_a_counterpart_is_none():
    faint, hidden = (IMPLANT, THERE, 0.49), (IMPLANT, THERE, 0.8, False)
    assert finding_flips(one_image(), one_image(faint), 0.5) == ()
    assert finding_flips(one_image(hidden), one_image(), 0.5) == ()


def test_the_same_box_of_another_class_is_no_counterpart():
    a, b = one_image((IMPLANT, HERE, 0.8)), one_image((OTHER, HERE, 0.8))
    assert [f.label for f in finding_flips(a, b, 0.5)] == [IMPLANT, OTHER]


def test_counterparts_are_those_that_overlap_most_each_once():
    a = one_image((OTHER, HERE, 0.9), (OTHER, NEAR, 0.8)).predictions[0].boxes
    b = one_image((OTHER, NEAR, 0.7), (OTHER, THERE, 0.6)).predictions[0].boxes
    assert list(counterparts(a, b)) == [(a[1], b[0]), (a[0], None), (None, b[1])]
    assert list(counterparts((), b)) == [(None, b[0]), (None, b[1])]
