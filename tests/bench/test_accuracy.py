"""Answers of the server against those of the pipeline."""

from __future__ import annotations

import pytest
from support.bundles import tiny_spec

from spinert.bench.accuracy import accuracy_of, differences, tolerances_from_bundle
from spinert.proto import inference_pb2 as pb

ALLOWED = tolerances_from_bundle(tiny_spec())


def verdict(**changes) -> pb.Verdict:
    made = pb.Verdict(
        abnormal_probability=0.6,
        decision=pb.DECISION_ABNORMAL,
        threshold=0.28,
        rows=200,
        columns=100,
    )
    made.members.add(name="first", logit=0.4, probability=0.6)
    for score in (0.9, 0.5):
        box = pb.Box(x_min=1, y_min=2, x_max=30, y_max=40)
        made.findings.add(class_index=1, class_name="Other", score=score, box=box)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def told(ours: pb.Verdict, theirs: pb.Verdict) -> list[str]:
    return list(differences(ours, theirs, ALLOWED))


def test_an_equal_answer_differs_in_nothing():
    assert told(verdict(), verdict()) == []


def test_figures_may_move_within_the_tolerances():
    other = verdict()
    other.members[0].logit += 0.9 * ALLOWED.logit
    other.findings[0].score -= 0.9 * ALLOWED.score
    other.findings[0].box.x_min += 0.9 * ALLOWED.box_px_of(200, 100)
    assert told(other, verdict()) == []


def test_a_logit_beyond_its_tolerance_is_told():
    other = verdict()
    other.members[0].logit += 2 * ALLOWED.logit
    assert told(other, verdict()) == ["logit of first differs by 0.001"]


@pytest.mark.parametrize("field", ["x_min", "y_max"])
def test_a_moved_box_is_another_finding(field):
    other = verdict()
    moved = getattr(other.findings[0].box, field) + 2 * ALLOWED.box_px_of(200, 100)
    setattr(other.findings[0].box, field, moved)
    assert told(other, verdict()) == [
        "Other 0.9000 is not found again",
        "Other 0.9000 is new",
    ]


def test_only_the_weakest_finding_may_come_and_go():
    without_weakest, without_strongest = verdict(), verdict()
    del without_weakest.findings[1]
    del without_strongest.findings[0]
    assert told(without_weakest, verdict()) == []
    assert told(without_strongest, verdict()) == ["Other 0.9000 is not found again"]


def test_another_decision_counts_unless_the_score_is_at_the_threshold():
    other = verdict(decision=pb.DECISION_NORMAL)
    assert told(other, verdict()) == ["another decision"]
    near = {"abnormal_probability": 0.2801}
    assert told(verdict(decision=pb.DECISION_NORMAL, **near), verdict(**near)) == []


def result() -> pb.Result:
    return pb.Result(verdict=verdict())


def serialized(value: pb.Verdict) -> bytes:
    return value.SerializeToString(deterministic=True)


def test_every_frame_must_be_answered_by_both_or_by_neither():
    same = serialized(verdict())
    found = accuracy_of([same, None], [result(), "QUEUE_FULL"], ALLOWED)
    assert (found["answered"], found["bit_identical"]) == (1, 1)
    assert found["passed"]
    lost = accuracy_of([same, None], [result(), result()], ALLOWED)
    assert lost["differences"] == ["frame 1: answered by one of the two only"]
    assert not lost["passed"]


def test_an_answer_to_no_frame_proves_nothing():
    assert not accuracy_of([None], ["QUEUE_FULL"], ALLOWED)["passed"]


def test_an_answer_that_is_equal_but_for_rounding_is_not_bit_identical():
    other = verdict(abnormal_probability=0.6000001)
    found = accuracy_of([serialized(other)], [result()], ALLOWED)
    assert found["bit_identical"] == 0
    assert found["largest_probability_difference"] == pytest.approx(1e-7, rel=1e-3)
    assert found["passed"]
