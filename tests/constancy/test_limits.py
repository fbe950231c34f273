"""Which phantoms become the cases of a test, and with which limits."""

from __future__ import annotations

import re
from itertools import count

import pytest
from support.bundles import tiny_spec
from support.constancies import BOX, asked, key, limits, result

from spinert.constancy.asking import NoAnswer
from spinert.constancy.errors import ConstancyError, NoLimitsError, UnstableError
from spinert.constancy.limits import (
    LimitChoices,
    candidate_keys,
    keys_from_limits,
    limits_from_answers,
    required_limits,
)
from spinert.proto import bundle_pb2
from spinert.proto import inference_pb2 as pb
from spinert.proto.bundle_rules import broken_choices

CHOICES = LimitChoices(count=2, seed=3, long_edge_px=100)
CLASSES = tuple(entry.name for entry in tiny_spec().classes)


def measured(*answers, choices=CHOICES, spec=None):
    return limits_from_answers(choices, answers, spec or tiny_spec())


def test_what_is_measured_is_what_a_bundle_may_store():
    spec = tiny_spec()
    spec.constancy.CopyFrom(
        measured(asked(result(0.7, [(CLASSES[0], 0.8, BOX)])), asked(result(0.1), 1))
    )
    assert list(broken_choices(spec)) == []
    told = spec.constancy
    assert [case.index for case in told.cases] == [0, 1]
    assert [case.decision for case in told.cases] == [
        pb.DECISION_ABNORMAL,
        pb.DECISION_NORMAL,
    ]
    assert told.cases[0].findings[0].class_name == CLASSES[0]
    assert told.cases[0].pixels_sha256 == asked(result()).pixels_sha256
    assert told.measured_on == "fake 1, FP32"


def test_phantoms_near_the_threshold_are_left_out():
    answers = (asked(result(p), i) for i, p in enumerate((0.7, 0.31, 0.25, 0.33, 0.1)))
    assert [case.index for case in measured(*answers).cases] == [0, 3]


def test_reverse_fusion_is_near_its_threshold_where_its_own_score_is():
    near, far = result(0.7), result(0.7)
    near.verdict.reverse_fusion_score = 0.29
    far.verdict.reverse_fusion_score = 0.6
    answers = [asked(near, 0), asked(far, 1), asked(far, 2)]
    assert [case.index for case in measured(*answers).cases] == [1, 2]


def test_no_more_phantoms_are_asked_than_needed():
    endless = (asked(result(), index) for index in count())
    told = limits_from_answers(CHOICES, endless, tiny_spec())
    assert len(told.cases) == 2
    assert next(endless).key.index == 2


def test_too_few_clear_phantoms_set_no_limits():
    answers = [asked(result(0.28), index) for index in range(10)]
    with pytest.raises(UnstableError, match="only 0 of 10 phantoms are decided"):
        measured(*answers)


def test_an_unanswered_phantom_sets_no_limits():
    refusal = NoAnswer(reason="QUEUE_FULL", message="try again later")
    with pytest.raises(ConstancyError, match=r"phantom 1 was not answered.*QUEUE_FULL"):
        measured(asked(result()), asked(refusal, 1))


def test_the_floor_of_findings_is_never_below_the_cutoff_of_the_fusion_rule():
    answers = asked(result()), asked(result(), 1)
    assert measured(*answers).finding_floor == 0.5
    spec = tiny_spec()
    spec.fusion.rule = bundle_pb2.FUSION_NONE
    assert measured(*answers, spec=spec).finding_floor == 0.3
    chosen = LimitChoices(count=2, finding_floor=0.05)
    assert measured(*answers, choices=chosen).finding_floor == 0.05


def test_findings_below_the_floor_are_not_stored():
    faint = [(CLASSES[0], 0.49, BOX), (CLASSES[1], 0.5, BOX)]
    told = measured(asked(result(findings=faint)), asked(result(), 1))
    assert [entry.class_name for entry in told.cases[0].findings] == [CLASSES[1]]


def test_the_latency_limit_leaves_room_above_the_median():
    slow = [asked(result(), i, latency_s=2.0) for i in range(2)]
    assert measured(*slow).latency_limit_s == pytest.approx(6.0)
    uneven = [asked(result(), i, latency_s=s) for i, s in enumerate((1.0, 2.0, 9.0))]
    three = LimitChoices(count=3)
    assert measured(*uneven, choices=three).latency_limit_s == pytest.approx(6.0)
    fast = [asked(result(), i, latency_s=0.01) for i in range(2)]
    assert measured(*fast).latency_limit_s == 0.5
    chosen = LimitChoices(count=2, latency_limit_s=0.125)
    assert measured(*slow, choices=chosen).latency_limit_s == 0.125


def test_the_phantoms_of_a_test_are_those_of_its_limits():
    told = limits(asked(result(), 4), asked(result(), 7))
    assert keys_from_limits(told) == [key(4), key(7)]
    assert list(candidate_keys(CHOICES)) == [key(index) for index in range(10)]


def test_a_bundle_without_limits_says_how_to_set_them():
    info = pb.ServerInfo(bundle_name="tiny", bundle_version="1")
    with pytest.raises(NoLimitsError, match=r"tiny 1 stores no limits.*--set-limits"):
        required_limits(info)


def test_limits_of_other_phantoms_are_not_used():
    told = limits(asked(result()))
    told.phantom_version = "0"
    with pytest.raises(NoLimitsError, match=r"of version 0, and this spinert draws"):
        required_limits(pb.ServerInfo(constancy=told))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"score_tolerance": 0.0}, r"constancy\.score_tolerance: must lie in \(0, 1\]"),
        ({"box_iou_min": 1.5}, r"constancy\.box_iou_min: must lie in \(0, 1\]"),
        ({"finding_floor": -1.0}, r"constancy\.finding_floor: must lie in \[0, 1\]"),
        ({"latency_limit_s": 0.0}, r"constancy\.latency_limit_s: must be above 0"),
        ({"latency_limit_s": float("nan")}, "latency_limit_s: must be a finite number"),
        ({"long_edge_px": 10}, r"constancy\.long_edge_px: must lie in \[64, 16384\]"),
        ({"phantom_version": ""}, r"constancy\.phantom_version: must be set"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(change, why):
    spec = tiny_spec()
    spec.constancy.CopyFrom(limits(asked(result())))
    assert list(broken_choices(spec)) == []
    for name, value in change.items():
        setattr(spec.constancy, name, value)
    assert re.search(why, "; ".join(broken_choices(spec)))


def test_cases_that_contradict_the_bundle_are_refused():
    spec = tiny_spec()
    told = limits(asked(result(findings=[("Nonsense", 0.9, BOX)])), asked(result()))
    spec.constancy.CopyFrom(told)
    assert list(broken_choices(spec)) == [
        "constancy.cases: two are of the same phantom",
        "constancy.cases: 'Nonsense' is none of the classes",
    ]
