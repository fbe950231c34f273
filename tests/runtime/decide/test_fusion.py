from __future__ import annotations

import itertools
import math

import pytest

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.decide.fusion import fused, reverse_fusion_score
from spinert.runtime.verdict import Assessment, Box, Decision, Finding

EXACT = 0.28
CUTOFF = 0.5
COMPARISONS = {pb.GREATER_OR_EQUAL: lambda a, b: a >= b, pb.GREATER: lambda a, b: a > b}
RULES = (pb.FUSION_PAPER, pb.FUSION_HARD_CASCADE, pb.FUSION_NONE)
# Just below, exactly at and just above each limit, and the ends of the range.
AROUND = [
    value
    for limit in (EXACT, CUTOFF)
    for value in (math.nextafter(limit, 0), limit, math.nextafter(limit, 1))
]
PROBABILITIES = [0.0, *AROUND, 1.0]


def finding(score, index=0):
    return Finding(
        class_index=index, score=score, box=Box(x_min=0, y_min=0, x_max=1, y_max=1)
    )


def rule(comparison=pb.GREATER_OR_EQUAL, **fields):
    return pb.DecisionRule(threshold=EXACT, comparison=comparison, **fields)


def fusion(kind=pb.FUSION_PAPER, comparison=pb.GREATER_OR_EQUAL, reverse=None):
    return pb.Fusion(
        rule=kind,
        low_confidence_cutoff=CUTOFF,
        comparison=comparison,
        reverse=reverse,
    )


@pytest.mark.parametrize(
    ("kind", "decides", "keeps", "p"),
    list(itertools.product(RULES, COMPARISONS, COMPARISONS, PROBABILITIES)),
)
def test_every_rule_keeps_what_its_definition_says(kind, decides, keeps, p):
    findings = [finding(score, index) for index, score in enumerate(PROBABILITIES)]
    outcome = fused(p, findings, rule(decides), fusion(kind, keeps))
    abnormal = COMPARISONS[decides](p, EXACT)
    assert outcome.decision is (Decision.ABNORMAL if abnormal else Decision.NORMAL)
    assert outcome.threshold == EXACT
    assert outcome.reverse_fusion_score is None
    expected = {
        pb.FUSION_NONE: findings,
        pb.FUSION_HARD_CASCADE: findings if abnormal else [],
        pb.FUSION_PAPER: [
            f for f in findings if abnormal or COMPARISONS[keeps](f.score, CUTOFF)
        ],
    }[kind]
    assert list(outcome.kept) == expected
    assert list(outcome.suppressed) == [f for f in findings if f not in expected]


def test_equality_is_abnormal_in_the_code_and_normal_in_the_paper():
    assert fused(EXACT, [], rule(), fusion()).decision is Decision.ABNORMAL
    outcome = fused(EXACT, [], rule(pb.GREATER), fusion())
    assert outcome.decision is Decision.NORMAL


def test_a_box_at_the_cutoff_is_kept_by_the_code_and_dropped_by_the_paper():
    box = finding(CUTOFF)
    assert fused(0.0, [box], rule(), fusion()).kept == (box,)
    assert fused(0.0, [box], rule(), fusion(comparison=pb.GREATER)).suppressed == (box,)


@pytest.mark.parametrize("p", [0.2, math.nextafter(0.35, 0)])
def test_the_band_is_uncertain_from_its_lower_end_to_just_below_its_upper(p):
    banded = rule(uncertain_from=0.2, uncertain_to=0.35)
    assert fused(p, [], banded, fusion()).assessment is Assessment.UNCERTAIN


@pytest.mark.parametrize(
    ("p", "assessment"),
    [
        (math.nextafter(0.2, 0), Assessment.NORMAL),
        (0.35, Assessment.ABNORMAL),
        (0.0, Assessment.NORMAL),
        (1.0, Assessment.ABNORMAL),
    ],
)
def test_outside_the_band_the_assessment_is_the_decision(p, assessment):
    banded = rule(uncertain_from=0.2, uncertain_to=0.35)
    assert fused(p, [], banded, fusion()).assessment is assessment


@pytest.mark.parametrize("p", [0.0, 0.1, EXACT, 0.9, 1.0])
def test_equal_ends_are_no_band(p):
    banded = rule(uncertain_from=EXACT, uncertain_to=EXACT)
    outcome = fused(p, [], banded, fusion())
    assert outcome.assessment is not Assessment.UNCERTAIN
    assert outcome.assessment.value == outcome.decision.value


def test_the_band_does_not_change_the_decision_or_the_boxes():
    banded = rule(uncertain_from=0.0, uncertain_to=1.0)
    plain, uncertain = (
        fused(0.3, [finding(0.4)], r, fusion()) for r in (rule(), banded)
    )
    assert (plain.decision, plain.kept) == (uncertain.decision, uncertain.kept)


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("best", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_reverse_fusion_decides_by_the_mean_with_the_best_box(comparison, p, best):
    reverse = pb.ReverseFusion(threshold=0.5, no_box_score=0.0)
    findings = [finding(best / 2), finding(best)]
    outcome = fused(p, findings, rule(comparison), fusion(reverse=reverse))
    score = (p + best) / 2
    assert outcome.reverse_fusion_score == score
    assert outcome.threshold == 0.5
    abnormal = COMPARISONS[comparison](score, 0.5)
    assert outcome.decision is (Decision.ABNORMAL if abnormal else Decision.NORMAL)


def test_reverse_fusion_overrules_a_classifier_that_says_normal():
    reverse = pb.ReverseFusion(threshold=0.5)
    boxes = [finding(0.9), finding(0.1)]
    assert fused(0.2, boxes, rule(), fusion()).decision is Decision.NORMAL
    outcome = fused(0.2, boxes, rule(), fusion(reverse=reverse))
    assert outcome.decision is Decision.ABNORMAL
    assert len(outcome.kept) == 2, "all boxes of an abnormal image are kept"


@pytest.mark.parametrize("no_box", [0.0, 0.6])
def test_an_image_without_boxes_has_the_score_the_bundle_says(no_box):
    reverse = pb.ReverseFusion(threshold=0.5, no_box_score=no_box)
    assert reverse_fusion_score(0.4, [], reverse) == (0.4 + no_box) / 2


def test_reverse_fusion_looks_at_boxes_before_any_is_suppressed():
    reverse = pb.ReverseFusion(threshold=0.99)
    outcome = fused(0.1, [finding(0.3)], rule(), fusion(reverse=reverse))
    assert outcome.suppressed
    assert outcome.reverse_fusion_score == pytest.approx(0.2)


def test_the_band_stays_on_the_probability_when_reverse_fusion_decides():
    reverse = pb.ReverseFusion(threshold=0.5)
    banded = rule(uncertain_from=0.2, uncertain_to=0.35)
    outcome = fused(0.3, [finding(1.0)], banded, fusion(reverse=reverse))
    assert outcome.assessment is Assessment.UNCERTAIN
    assert outcome.decision is Decision.ABNORMAL
