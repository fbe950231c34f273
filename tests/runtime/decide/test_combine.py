from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.decide.combine import (
    combined_probability,
    members_from_logits,
    probability_from_logit,
)

LOGIT_MEAN = pb.Combination(rule=pb.COMBINATION_LOGIT_MEAN, probability_clip=1e-6)
MEAN = pb.Combination(rule=pb.COMBINATION_PROBABILITY_MEAN)
logits = st.floats(-1e4, 1e4)


def combined(values, rule):
    names = [str(i) for i in range(len(values))]
    return combined_probability(members_from_logits(names, values), rule)


def official(values, clip=1e-6):
    """`eval_overall.py`: probabilities clipped, inverse sigmoid, mean, sigmoid."""
    p = np.clip([probability_from_logit(v) for v in values], clip, 1 - clip)
    return 1 / (1 + np.exp(-np.log(p / (1 - p)).mean()))


@pytest.mark.parametrize(
    ("logit", "probability"),
    [
        (0.0, 0.5),
        (40.0, 1.0),
        (-800.0, 0.0),
        (800.0, 1.0),
        (math.log(3), 0.75),
        (-math.log(3), 0.25),
    ],
)
def test_the_sigmoid_is_exact_where_it_is_known(logit, probability):
    assert probability_from_logit(logit) == pytest.approx(probability, abs=1e-15)


def test_the_sigmoid_keeps_small_probabilities():
    assert probability_from_logit(-100.0) == pytest.approx(math.exp(-100), rel=1e-12)


@given(logits)
def test_the_sigmoid_is_symmetric_and_in_range(logit):
    p, q = probability_from_logit(logit), probability_from_logit(-logit)
    assert 0 <= p <= 1
    assert p + q == pytest.approx(1, abs=1e-15)


@given(st.lists(logits, min_size=1, max_size=5))
def test_the_logit_mean_is_that_of_the_official_code(values):
    assert combined(values, LOGIT_MEAN) == pytest.approx(official(values), abs=1e-9)


def test_one_certain_member_cannot_silence_the_others():
    clipped = combined([1000.0, -2.0, -2.0], LOGIT_MEAN)
    limit = math.log((1 - 1e-6) / 1e-6)
    assert clipped == pytest.approx(probability_from_logit((limit - 4) / 3), abs=1e-12)


def test_without_a_clip_logits_are_averaged_as_they_are():
    rule = pb.Combination(rule=pb.COMBINATION_LOGIT_MEAN, probability_clip=0)
    assert combined([60.0, -59.0], rule) == pytest.approx(
        probability_from_logit(0.5), abs=1e-12
    )


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_members_that_are_all_certain_stay_certain(certain):
    values = [800.0, 900.0] if certain else [-800.0, -900.0]
    assert [m.probability for m in members_from_logits("ab", values)] == [certain] * 2
    assert combined(values, MEAN) == certain
    assert combined(values, LOGIT_MEAN) == pytest.approx(certain, abs=1.0001e-6)
    assert combined(values, LOGIT_MEAN) != certain


@given(st.lists(logits, min_size=1, max_size=5))
def test_the_probability_mean_is_the_mean_of_probabilities(values):
    expected = np.mean([probability_from_logit(v) for v in values])
    assert combined(values, MEAN) == pytest.approx(expected, abs=1e-15)


def test_the_logit_mean_differs_from_the_probability_mean():
    assert abs(combined([4.0, -1.0], LOGIT_MEAN) - combined([4.0, -1.0], MEAN)) > 0.1


def test_weights_are_applied_in_the_order_of_members():
    rule = pb.Combination(rule=pb.COMBINATION_WEIGHTED, weights=[0.25, 0.75])
    expected = 0.25 * probability_from_logit(2.0) + 0.75 * probability_from_logit(-3.0)
    assert combined([2.0, -3.0], rule) == pytest.approx(expected, abs=1e-15)


def test_weights_that_overshoot_by_rounding_do_not_leave_the_unit_range():
    rule = pb.Combination(rule=pb.COMBINATION_WEIGHTED, weights=[0.5, 0.5000009])
    assert combined([900.0, 900.0], rule) == 1.0


def test_as_many_weights_as_members_are_needed():
    rule = pb.Combination(rule=pb.COMBINATION_WEIGHTED, weights=[1.0])
    with pytest.raises(ValueError, match="zip"):
        combined([1.0, 2.0], rule)


def test_an_ensemble_needs_a_member():
    with pytest.raises(ValueError, match="at least one"):
        combined_probability([], MEAN)


def test_as_many_names_as_logits_are_needed():
    with pytest.raises(ValueError, match="zip"):
        members_from_logits(["only"], [1.0, 2.0])
