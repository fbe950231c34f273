"""What lies outside the limits of a constancy test, and what does not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.constancies import BOX, asked, report, result

from spinert.constancy.asking import NoAnswer
from spinert.constancy.deviations import Kind

SPUR = ("Osteophytes", 0.8, BOX)
SCREW = ("Surgical implant", 0.6, (60.0, 60.0, 90.0, 90.0))


def judged(before, now):
    return report([asked(before)], [asked(now)]).cases[0]


def kinds(case):
    return [entry.kind for entry in case.deviations]


def test_the_same_answer_passes():
    case = judged(result(findings=[SPUR, SCREW]), result(findings=[SCREW, SPUR]))
    assert case.has_passed
    assert case.score_deviation == 0
    assert case.found_again == (0, 1)


def test_a_probability_may_differ_by_the_tolerance_and_not_by_more():
    assert judged(result(0.7), result(0.719)).has_passed
    case = judged(result(0.7), result(0.721))
    assert kinds(case) == [Kind.PROBABILITY]
    assert "0.7210 instead of 0.7000; 0.02 is allowed" in case.deviations[0].text


def test_a_member_that_drifts_is_named_though_the_ensemble_holds():
    case = judged(result(members=(0.6, 0.8)), result(members=(0.6, 0.83)))
    assert kinds(case) == [Kind.MEMBER]
    assert "member-1" in case.deviations[0].text
    assert case.score_deviation == pytest.approx(0.03)


def test_a_member_that_is_gone_is_a_deviation():
    case = judged(result(members=(0.6, 0.8)), result(members=(0.6,)))
    assert kinds(case) == [Kind.MEMBER]
    assert math.isinf(case.score_deviation)


def test_a_probability_that_is_no_number_is_a_deviation():
    assert Kind.PROBABILITY in kinds(judged(result(0.7), result(math.nan)))


def test_another_decision_is_a_deviation_whatever_the_probability():
    now = result(0.7)
    now.verdict.decision = 1
    case = judged(result(0.7), now)
    assert kinds(case) == [Kind.DECISION]
    assert case.deviations[0].text == "it is called normal instead of abnormal"


def test_a_finding_that_is_not_there_any_more_is_a_deviation():
    case = judged(result(findings=[SPUR, SCREW]), result(findings=[SCREW]))
    assert kinds(case) == [Kind.FINDING_MISSING]
    assert case.found_again == (1,)
    assert "Osteophytes 0.80 was not found again" in case.deviations[0].text


def test_a_finding_that_was_not_there_is_a_deviation():
    case = judged(result(findings=[SPUR]), result(findings=[SPUR, SCREW]))
    assert kinds(case) == [Kind.FINDING_UNEXPECTED]
    assert [entry.class_name for entry in case.unexpected] == ["Surgical implant"]


def test_a_finding_of_another_class_in_the_same_place_is_not_the_same():
    case = judged(result(findings=[SPUR]), result(findings=[("Other", 0.8, BOX)]))
    assert kinds(case) == [Kind.FINDING_MISSING, Kind.FINDING_UNEXPECTED]


def test_a_box_may_move_as_long_as_most_of_it_is_shared():
    near = ("Osteophytes", 0.8, (20.0, 10.0, 60.0, 50.0))  # IoU 0.6
    far = ("Osteophytes", 0.8, (30.0, 10.0, 70.0, 50.0))  # IoU 1/3
    half = ("Osteophytes", 0.8, (10.0, 10.0, 50.0, 30.0))  # IoU 1/2, the least
    assert judged(result(findings=[SPUR]), result(findings=[near])).has_passed
    assert judged(result(findings=[SPUR]), result(findings=[half])).has_passed
    case = judged(result(findings=[SPUR]), result(findings=[far]))
    assert kinds(case) == [Kind.FINDING_MISSING, Kind.FINDING_UNEXPECTED]


def test_a_finding_whose_score_drifts_is_found_again_and_told():
    weaker = ("Osteophytes", 0.75, BOX)
    case = judged(result(findings=[SPUR]), result(findings=[weaker]))
    assert kinds(case) == [Kind.FINDING_SCORE]
    assert case.found_again == (0,)
    assert case.score_deviation == pytest.approx(0.05)


def test_one_finding_is_not_found_again_twice():
    twice = result(findings=[SPUR, ("Osteophytes", 0.79, (12.0, 10.0, 52.0, 50.0))])
    case = judged(twice, result(findings=[SPUR]))
    assert kinds(case) == [Kind.FINDING_MISSING]
    # The one of the highest score is looked for first.
    assert case.found_again == (0,)
    assert case.score_deviation == 0


def test_of_two_findings_of_a_class_the_nearer_one_is_the_same():
    near = ("Osteophytes", 0.5, (14.0, 10.0, 54.0, 50.0))  # IoU 0.82 with SPUR
    findings = [SPUR, near]
    assert judged(result(findings=findings), result(findings=findings[::-1])).has_passed


@pytest.mark.parametrize("score", [0.31, 0.30])
def test_a_finding_just_above_the_floor_may_come_and_go(score):
    faint = ("Osteophytes", score, BOX)
    assert judged(result(findings=[faint]), result()).has_passed
    assert judged(result(), result(findings=[faint])).has_passed


def test_a_finding_clearly_above_the_floor_may_not():
    plain = ("Osteophytes", 0.33, BOX)
    assert not judged(result(findings=[plain]), result()).has_passed
    assert not judged(result(), result(findings=[plain])).has_passed


def test_findings_below_the_floor_are_not_looked_at():
    assert judged(result(), result(findings=[("Osteophytes", 0.2, BOX)])).has_passed


def test_a_phantom_without_an_answer_fails_with_the_reason():
    refusal = NoAnswer(reason="QUEUE_FULL", message="try again later")
    case = judged(result(), refusal)
    assert kinds(case) == [Kind.NO_ANSWER]
    assert "QUEUE_FULL: try again later" in case.deviations[0].text
    assert math.isnan(case.score_deviation)


def test_other_pixels_are_told_and_fail_nothing_by_themselves():
    other = replace(asked(result()), pixels_sha256="0" * 64)
    case = report([asked(result())], [other]).cases[0]
    assert case.has_passed
    assert not case.has_same_pixels


def test_the_median_latency_counts_and_one_slow_phantom_does_not():
    before = [asked(result(), i) for i in range(3)]
    hiccup = [asked(result(), i, latency_s=s) for i, s in enumerate((0.1, 0.2, 9.0))]
    run = report(before, hiccup)
    assert run.has_passed
    assert (run.latency_median_s, run.latency_max_s) == (0.2, 9.0)
    slow = [asked(result(), i, latency_s=s) for i, s in enumerate((0.1, 1.1, 9.0))]
    run = report(before, slow)
    assert [entry.kind for entry in run.deviations] == [Kind.LATENCY]
    assert not run.has_passed


def test_a_run_fails_with_any_of_its_phantoms_and_tells_the_largest_deviation():
    before = [asked(result(0.7), i) for i in range(3)]
    now = [asked(result(p), i) for i, p in enumerate((0.701, 0.75, 0.71))]
    run = report(before, now)
    assert not run.has_passed
    assert [case.has_passed for case in run.cases] == [True, False, True]
    assert run.score_deviation == pytest.approx(0.05)


def test_a_run_without_any_answer_has_no_figures():
    gone = NoAnswer(reason="NOT_ASKED", message="gone")
    run = report([asked(result())], [asked(gone)])
    assert not run.has_passed
    assert math.isnan(run.latency_median_s)
    assert math.isnan(run.score_deviation)
