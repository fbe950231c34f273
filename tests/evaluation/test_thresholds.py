"""Threshold and UNCERTAIN band of a calibration."""

from __future__ import annotations

import numpy as np
import pytest
from support.scored_images import classified, drawn_pairs

from spinert.evaluation.bootstrap import Bootstrap
from spinert.evaluation.errors import SplitError
from spinert.evaluation.thresholds import calibrated_threshold, youden_threshold

FEW = Bootstrap(resamples=300)


def overlapping(seed=1, images=400):
    random = np.random.default_rng(seed)
    truth = random.random(images) < 0.5
    return classified(truth, random.normal(0.4 + 0.2 * truth, 0.15).clip(0, 1))


def shares(pairs, low, high):
    """Return shares of abnormal images from `low` on and of normal ones below."""
    p, truth = pairs.probabilities, pairs.truth
    return np.mean(p[truth] >= low), np.mean(p[~truth] < high)


def test_the_band_lies_between_ruling_out_and_ruling_in():
    pairs = overlapping()
    found = calibrated_threshold(pairs, bootstrap=FEW)
    sensitivity, specificity = shares(pairs, found.uncertain_from, found.uncertain_to)
    assert sensitivity == found.rule_out_sensitivity >= 0.95
    assert specificity == found.rule_in_specificity >= 0.95
    assert found.uncertain_from < found.threshold.value < found.uncertain_to
    p = pairs.probabilities
    inside = (p >= found.uncertain_from) & (p < found.uncertain_to)
    assert found.uncertain_share == pytest.approx(inside.mean())
    # One image more on either side would break the promise.
    tighter = np.nextafter(found.uncertain_from, 1)
    assert shares(pairs, tighter, 1)[0] < 0.95
    assert shares(pairs, 0, np.nextafter(found.uncertain_to, 0))[1] < 0.95


def test_a_stricter_promise_widens_the_band():
    pairs = overlapping()
    plain = calibrated_threshold(pairs, bootstrap=FEW)
    strict = calibrated_threshold(
        pairs, sensitivity=0.99, specificity=0.99, bootstrap=FEW
    )
    assert strict.uncertain_from < plain.uncertain_from
    assert strict.uncertain_to > plain.uncertain_to


def test_classes_that_do_not_overlap_leave_no_band():
    found = calibrated_threshold(
        classified([False] * 20 + [True] * 20, np.arange(40) / 40), bootstrap=FEW
    )
    assert found.threshold.value == 0.5
    assert found.uncertain_from == found.uncertain_to == 0.5
    assert found.uncertain_share == 0.0
    assert (found.sensitivity, found.specificity) == (1.0, 1.0)


def test_the_threshold_is_youdens_with_an_interval_of_its_own():
    pairs = drawn_pairs(4, 150)
    found = calibrated_threshold(pairs, bootstrap=FEW)
    assert found.threshold.value == youden_threshold(pairs.truth, pairs.probabilities)
    assert found.threshold.low <= found.threshold.value <= found.threshold.high
    at = shares(pairs, found.threshold.value, found.threshold.value)
    assert (found.sensitivity, found.specificity) == at


# In binary, ten times 1 - 0.9 is a little less than one image.
@pytest.mark.parametrize(("share", "images"), [(0.95, 20), (0.9, 10)])
def test_nineteen_of_twenty_are_ninety_five_per_cent(share, images):
    truth = np.repeat([True, False], images)
    high, low = np.linspace(0.4, 0.9, images), np.linspace(0.1, 0.7, images)
    found = calibrated_threshold(
        classified(truth, np.r_[high, low]),
        sensitivity=share,
        specificity=share,
        bootstrap=FEW,
    )
    assert found.rule_out_sensitivity == share
    assert found.rule_in_specificity == share


def test_a_normal_image_at_certainty_does_not_push_the_band_beyond_one():
    pairs = classified([True, False, False, True], [1.0, 1.0, 0.1, 0.9])
    found = calibrated_threshold(pairs, bootstrap=FEW)
    assert found.uncertain_to == 1.0


@pytest.mark.parametrize(
    ("truth", "message"),
    [([True, True], "no image is normal"), ([False, False], "no image is abnormal")],
)
def test_a_split_of_one_class_cannot_be_calibrated_on(truth, message):
    with pytest.raises(SplitError, match=message):
        calibrated_threshold(classified(truth, [0.1, 0.9]), bootstrap=FEW)


def test_a_classifier_no_better_than_chance_cannot_be_calibrated():
    with pytest.raises(SplitError, match="better than chance"):
        calibrated_threshold(classified([True, False], [0.2, 0.8]), bootstrap=FEW)
