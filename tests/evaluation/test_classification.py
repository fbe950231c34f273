"""AUROC, its neighbours and their intervals, held to scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)
from support.scored_images import classified, drawn_pairs

from spinert.evaluation.bootstrap import Bootstrap, estimate_of, resample_counts
from spinert.evaluation.calibration import calibration_of
from spinert.evaluation.classification import ENSEMBLE, classification_table
from spinert.evaluation.curves import precision_recall_of, roc_of
from spinert.evaluation.ranking import Ranking
from spinert.evaluation.reverse_fusion import reverse_fusion
from spinert.evaluation.thresholds import youden_threshold

FEW = Bootstrap(resamples=300)

# Tenths collide, other values hardly do.
PROBABILITIES = st.one_of(st.integers(0, 10).map(lambda n: n / 10), st.floats(0, 1))
IMAGES = st.lists(st.tuples(st.booleans(), PROBABILITIES), min_size=2, max_size=30)


def arrays(images):
    truth, probabilities = zip(*images, strict=True)
    return np.array(truth, np.bool_), np.array(probabilities, np.float64)


@settings(max_examples=200)
@given(IMAGES)
def test_auroc_is_that_of_scikit_learn(images):
    truth, probabilities = arrays(images)
    found = Ranking(truth, probabilities).aurocs(np.ones((1, len(truth))))[0]
    if truth.all() or not truth.any():
        assert np.isnan(found)
    else:
        assert found == pytest.approx(roc_auc_score(truth, probabilities), abs=1e-9)


@settings(max_examples=100)
@given(IMAGES, st.integers(0, 2**32 - 1))
def test_auroc_of_a_resample_is_that_of_its_images(images, seed):
    truth, probabilities = arrays(images)
    chosen = np.random.default_rng(seed).integers(0, len(truth), len(truth))
    counts = np.bincount(chosen, minlength=len(truth)).astype(np.float64)
    found = Ranking(truth, probabilities).aurocs(counts[None])[0]
    if len(set(truth[chosen])) == 1:
        assert np.isnan(found)
    else:
        expected = roc_auc_score(truth[chosen], probabilities[chosen])
        assert found == pytest.approx(expected, abs=1e-9)


@settings(max_examples=200)
@given(IMAGES)
def test_youdens_threshold_is_that_of_the_official_code(images):
    truth, probabilities = arrays(images)
    found = youden_threshold(truth, probabilities)
    if truth.all() or not truth.any():
        assert found is None
        return
    false_positive, true_positive, thresholds = roc_curve(truth, probabilities)
    best = np.argmax(np.round(true_positive - false_positive, 12))
    expected = thresholds[best]
    assert found == (None if np.isinf(expected) else expected)


@pytest.mark.parametrize("rare", [True, False])
def test_resamples_are_the_draws_of_the_official_code(rare):
    # classification_evaluator.py: one RandomState, randint(N, size=N) each time, and
    # a draw of one class only is passed over.
    truth = np.array([rare] + [not rare] * 5)
    random, expected = np.random.RandomState(1999), []
    while len(expected) < 250:
        chosen = random.randint(6, size=6)
        if len(np.unique(truth[chosen])) == 2:
            expected.append(np.bincount(chosen, minlength=6))
    chunks = list(resample_counts(6, Bootstrap(resamples=250), truth))
    assert len(chunks) > 1
    assert (np.concatenate(chunks) == expected).all()


def test_a_split_of_one_class_is_resampled_all_the_same():
    counts = np.concatenate(list(resample_counts(5, FEW, np.ones(5, np.bool_))))
    assert counts.shape == (300, 5)


def test_figures_at_a_threshold_are_those_of_scikit_learn():
    pairs = drawn_pairs(3, 200)
    (*members, ensemble) = classification_table(
        pairs, member_names=["a", "b", "c"], threshold=0.55, bootstrap=FEW
    )
    truth, decided = pairs.truth, pairs.probabilities >= 0.55
    assert ensemble.name == ENSEMBLE
    assert not ensemble.is_youden
    assert ensemble.auroc.value == pytest.approx(
        roc_auc_score(truth, pairs.probabilities), abs=1e-9
    )
    assert ensemble.f1.value == pytest.approx(f1_score(truth, decided), abs=1e-9)
    assert ensemble.sensitivity.value == pytest.approx(recall_score(truth, decided))
    assert ensemble.specificity.value == pytest.approx(recall_score(~truth, ~decided))
    assert ensemble.precision.value == pytest.approx(precision_score(truth, decided))
    cells = ensemble.confusion
    assert cells.true_positive == (truth & decided).sum()
    assert cells.false_negative == (truth & ~decided).sum()
    assert cells.false_positive == (~truth & decided).sum()
    assert cells.true_negative == (~truth & ~decided).sum()
    assert [row.name for row in members] == ["a", "b", "c"]
    for row, column in zip(members, pairs.members.T, strict=True):
        assert row.is_youden
        assert row.threshold == youden_threshold(truth, column)
        assert row.auroc.value == pytest.approx(roc_auc_score(truth, column))


def test_an_interval_is_that_of_one_resample_after_the_other():
    pairs, bootstrap = drawn_pairs(7, 60), Bootstrap(resamples=200)
    (row,) = classification_table(
        pairs, member_names=["only"] * 3, threshold=0.5, bootstrap=bootstrap
    )[-1:]
    random, aurocs, scores = np.random.RandomState(1999), [], []
    while len(aurocs) < 200:
        chosen = random.randint(60, size=60)
        truth, p = pairs.truth[chosen], pairs.probabilities[chosen]
        if len(np.unique(truth)) == 2:
            aurocs.append(roc_auc_score(truth, p))
            scores.append(f1_score(truth, p >= 0.5))
    for estimate, values in ((row.auroc, aurocs), (row.f1, scores)):
        expected = np.quantile(values, (0.025, 0.975))
        assert (estimate.low, estimate.high) == pytest.approx(expected, abs=1e-9)


def test_a_single_member_is_the_ensemble():
    pairs = classified([True, False], [0.9, 0.1])
    (row,) = classification_table(
        pairs, member_names=["densenet121"], threshold=None, bootstrap=FEW
    )
    assert row.name == ENSEMBLE
    assert row.is_youden
    assert row.threshold == 0.9


def test_a_probability_at_the_threshold_is_abnormal_only_where_that_is_inclusive():
    pairs = classified([True, False], [0.5, 0.1])

    def sensitivity(inclusive):
        (row,) = classification_table(
            pairs,
            member_names=["m"],
            threshold=0.5,
            inclusive=inclusive,
            bootstrap=FEW,
        )
        return row.sensitivity.value

    assert sensitivity(True) == 1.0
    assert sensitivity(False) == 0.0


def test_auroc_of_abnormal_images_alone_is_undefined_but_sensitivity_is_not():
    pairs = classified([True, True, True, True], [0.9, 0.8, 0.2, 0.7])
    (row,) = classification_table(
        pairs, member_names=["m"], threshold=0.5, bootstrap=FEW
    )
    assert row.auroc.value is None
    assert row.auroc.reason == "there is no normal image"
    assert row.specificity.value is None
    assert row.sensitivity.value == 0.75
    assert row.sensitivity.low < 0.75 < row.sensitivity.high


def test_a_classifier_worse_than_chance_has_no_youden_threshold():
    pairs = classified([True, False], [0.1, 0.9])
    (row,) = classification_table(
        pairs, member_names=["m"], threshold=None, bootstrap=FEW
    )
    assert row.auroc.value == 0.0
    assert row.threshold is None
    assert row.confusion is None
    assert row.f1.reason == "no threshold is better than chance"


def test_precision_without_an_alarm_is_undefined_and_says_so():
    pairs = classified([True, False], [0.2, 0.1])
    (row,) = classification_table(
        pairs, member_names=["m"], threshold=0.5, bootstrap=FEW
    )
    assert row.f1.value == 0.0
    assert row.precision.value is None
    assert "no image is called abnormal" in row.precision.reason


def test_an_interval_leaves_out_resamples_without_a_figure():
    draws = np.array([0.1, np.nan, 0.3])
    estimate = estimate_of(0.2, draws, Bootstrap(confidence=0.5))
    assert (estimate.low, estimate.high) == pytest.approx((0.15, 0.25))
    nothing = estimate_of(0.2, np.array([np.nan]), FEW)
    assert (nothing.value, nothing.low) == (0.2, None)
    assert nothing.reason == "undefined in every resample"


@pytest.mark.parametrize("values", [{"resamples": 0}, {"confidence": 1.0}])
def test_a_bootstrap_without_an_interval_is_refused(values):
    with pytest.raises(ValueError, match="use"):
        Bootstrap(**values)


def test_curves_of_one_class_are_absent_and_warn_of_nothing():
    pairs = classified([False, False], [0.1, 0.2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert roc_of(pairs) is None
        assert precision_recall_of(pairs) is None


def test_the_curves_begin_and_end_in_their_corners():
    pairs = drawn_pairs(1, 50)
    roc = roc_of(pairs)
    assert (roc.false_positive_rate[0], roc.true_positive_rate[0]) == (0, 0)
    assert (roc.false_positive_rate[-1], roc.true_positive_rate[-1]) == (1, 1)
    member = roc_of(pairs, pairs.members[:, 1])
    assert len(member.thresholds) != len(roc.thresholds)
    curve = precision_recall_of(pairs)
    assert (curve.recall[0], curve.recall[-1], curve.precision[-1]) == (1, 0, 1)
    assert 0 < curve.average_precision < 1


def test_calibration_compares_what_was_said_with_what_was():
    pairs = classified([True, False, False, True, True], [0.62, 0.68, 0.05, 1.0, 0.9])
    found = calibration_of(pairs, bins=10)
    assert [(b.low, b.count) for b in found.bins] == [(0.0, 1), (0.6, 2), (0.9, 2)]
    middle = found.bins[1]
    assert middle.mean_probability == pytest.approx(0.65)
    assert middle.abnormal_share == 0.5
    assert found.ece == pytest.approx((0.05 + 2 * 0.15 + 2 * 0.05) / 5)
    assert found.brier == pytest.approx(
        brier_score_loss(pairs.truth, pairs.probabilities)
    )


def test_reverse_fusion_gains_where_only_the_detector_is_right():
    pairs = drawn_pairs(11, 80)
    best = [max((b.score for b in p.boxes), default=0.0) for p in pairs.predictions]
    fused = (pairs.probabilities + best) / 2
    found = reverse_fusion(pairs, bootstrap=FEW)
    expected = roc_auc_score(pairs.truth, fused)
    before = roc_auc_score(pairs.truth, pairs.probabilities)
    assert found.auroc.value == pytest.approx(expected)
    assert found.auroc_gain.value == pytest.approx(expected - before)
    assert found.threshold == youden_threshold(pairs.truth, fused)
    assert found.auroc_gain.low < found.auroc_gain.value < found.auroc_gain.high


def test_an_image_without_findings_gets_the_score_it_is_given():
    pairs = classified([True, False, True], [0.6, 0.5, 0.4])
    assert reverse_fusion(pairs, bootstrap=FEW).threshold == pytest.approx(0.3)
    found = reverse_fusion(pairs, no_box_score=1.0, bootstrap=FEW)
    assert found.threshold == pytest.approx(0.8)
    assert found.auroc_gain.value == 0.0
