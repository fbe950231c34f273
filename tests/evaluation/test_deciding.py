"""Stored predictions decided again are as the runtime would have decided them."""

from __future__ import annotations

import pytest
from support.bundles import tiny_spec
from support.scored_images import case, prediction

from spinert.evaluation.deciding import (
    Choice,
    ChosenBy,
    Operating,
    operating_from,
    prediction_at_threshold,
)
from spinert.evaluation.errors import SplitError
from spinert.evaluation.pairs import Pairs
from spinert.evaluation.records import Answered
from spinert.evaluation.subject import Rules
from spinert.proto import bundle_pb2 as pb

BOX = (1.0, 2.0, 30.0, 40.0)


def rules(**fusion) -> Rules:
    spec = tiny_spec()
    spec.fusion.MergeFrom(pb.Fusion(**fusion))
    return Rules(decision=spec.decision, fusion=spec.fusion)


def at(threshold: float, *, inclusive: bool = True) -> Operating:
    return Operating(
        threshold=threshold, inclusive=inclusive, by=ChosenBy.CALLER, cutoff=0.5
    )


def decided(threshold, used=None, **operating):
    found = prediction(
        "a", 0.4, ("x", BOX, 0.9), ("x", BOX, 0.5), ("y", BOX, 0.1), abnormal=False
    )
    again = prediction_at_threshold(found, at(threshold, **operating), used or rules())
    return again.abnormal, [box.kept for box in again.boxes]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.3, (True, [True, True, True])),
        (0.4, (True, [True, True, True])),
        (0.41, (False, [True, True, False])),
    ],
)
def test_an_abnormal_image_keeps_all_findings_a_normal_one_the_sure(
    threshold, expected
):
    assert decided(threshold) == expected


def test_a_probability_at_the_threshold_is_decided_as_asked():
    assert decided(0.4, inclusive=False) == (False, [True, True, False])


def test_other_fusion_rules_are_kept_to():
    assert decided(0.5, rules(rule=pb.FUSION_HARD_CASCADE))[1] == [False] * 3
    assert decided(0.5, rules(rule=pb.FUSION_NONE))[1] == [True] * 3


def answers_for(*entries, is_reverse=False, thresholds=(0.28,)):
    made = [prediction(str(n), p, abnormal=a) for n, (p, a) in enumerate(entries)]
    answers = [
        Answered(
            image_id=p.image_id,
            split="test",
            sha256="",
            rows=1,
            columns=1,
            threshold=thresholds[n % len(thresholds)],
            is_reverse=is_reverse,
            prediction=p,
        )
        for n, p in enumerate(made)
    ]
    cases = tuple(case(p.image_id, abnormal=n % 2 == 1) for n, p in enumerate(made))
    return answers, Pairs(cases=cases, predictions=tuple(made))


def test_the_bundle_decides_unless_told_otherwise():
    answers, pairs = answers_for((0.1, False), (0.9, True))
    found = operating_from(Choice(by=ChosenBy.BUNDLE), rules(), answers, pairs)
    assert (found.threshold, found.inclusive, found.cutoff) == (0.28, True, 0.5)


@pytest.mark.parametrize(
    ("comparison", "by", "inclusive"),
    [
        (pb.GREATER, ChosenBy.BUNDLE, False),
        (pb.GREATER, ChosenBy.CALLER, False),
        (pb.GREATER, ChosenBy.YOUDEN, True),
        (pb.GREATER_OR_EQUAL, ChosenBy.BUNDLE, True),
        (pb.GREATER_OR_EQUAL, ChosenBy.CALLER, True),
    ],
)
def test_a_threshold_is_compared_as_the_bundle_does_and_youdens_as_its_own(
    comparison, by, inclusive
):
    used = rules()
    used.decision.comparison = comparison
    answers, pairs = answers_for((0.1, False), (0.9, True))
    choice = Choice(by=by, threshold=0.5)
    assert operating_from(choice, used, answers, pairs).inclusive is inclusive


def test_a_server_tells_its_threshold_with_every_answer():
    answers, pairs = answers_for((0.1, False), (0.9, True))
    found = operating_from(Choice(by=ChosenBy.BUNDLE), None, answers, pairs)
    assert (found.threshold, found.inclusive, found.cutoff) == (0.28, True, None)


def test_an_answer_right_at_the_threshold_tells_how_a_server_compares():
    answers, pairs = answers_for((0.28, False), (0.9, True))
    found = operating_from(Choice(by=ChosenBy.BUNDLE), None, answers, pairs)
    assert not found.inclusive


@pytest.mark.parametrize(
    ("choice", "used", "options", "words"),
    [
        (ChosenBy.CALLER, None, {}, "name it with --bundle"),
        (ChosenBy.BUNDLE, None, {"is_reverse": True}, "reverse fusion and does not"),
        (ChosenBy.BUNDLE, None, {"thresholds": (0.2, 0.3)}, "different thresholds"),
        (
            ChosenBy.YOUDEN,
            rules(reverse=pb.ReverseFusion(threshold=0.5)),
            {},
            "leave --threshold out",
        ),
    ],
)
def test_a_threshold_that_cannot_be_had_is_refused(choice, used, options, words):
    answers, pairs = answers_for((0.1, False), (0.9, True), **options)
    with pytest.raises(SplitError, match=words):
        operating_from(Choice(by=choice, threshold=0.5), used, answers, pairs)
