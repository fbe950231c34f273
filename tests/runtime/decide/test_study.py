from __future__ import annotations

import itertools

from spinert.runtime.decide.study import StudyTally
from spinert.runtime.verdict import Assessment, Decision, Verdict


def verdict(p, decision=None, reverse=None):
    decision = decision or (Decision.ABNORMAL if p >= 0.28 else Decision.NORMAL)
    return Verdict(
        abnormal_probability=p,
        members=(),
        decision=decision,
        threshold=0.28,
        assessment=Assessment(decision.value),
        findings=(),
        suppressed=(),
        notes=frozenset(),
        reverse_fusion_score=reverse,
        rows=1,
        columns=1,
    )


def last(entries):
    tally = StudyTally()
    for number, (name, answered) in enumerate(entries, 1):
        summary = tally.add("1.2.3", name, number, answered)
    return summary


def test_a_frame_without_a_study_has_no_summary():
    assert StudyTally().add("", "a", 1, verdict(0.9)) is None


def test_the_worst_frame_speaks_for_the_study_in_any_order():
    frames = [("a", verdict(0.1)), ("b", verdict(0.9)), ("c", verdict(0.4))]
    for order in itertools.permutations(frames):
        summary = last(order)
        assert summary.frames == 3
        assert summary.worst_frame_id == "b"
        assert summary.worst_sequence == 1 + [n for n, _ in order].index("b")
        assert summary.abnormal_probability == 0.9
        assert summary.decision is Decision.ABNORMAL
        assert summary.assessment is Assessment.ABNORMAL
        assert summary.study_uid == "1.2.3"


def test_an_abnormal_frame_is_worse_than_a_normal_one_of_higher_score():
    frames = [
        ("normal", verdict(0.5, Decision.NORMAL)),
        ("abnormal", verdict(0.3, Decision.ABNORMAL)),
    ]
    for order in itertools.permutations(frames):
        assert last(order).worst_frame_id == "abnormal"


def test_where_reverse_fusion_decides_its_score_ranks_the_frames():
    frames = [("box", verdict(0.3, reverse=0.6)), ("p", verdict(0.5, reverse=0.4))]
    for order in itertools.permutations(frames):
        assert last(order).worst_frame_id == "box"


def test_among_equals_the_first_frame_stays():
    assert last([("a", verdict(0.5)), ("b", verdict(0.5))]).worst_frame_id == "a"


def test_a_frame_without_classification_counts_but_is_not_the_worst():
    silent = verdict(0.0, Decision.UNSPECIFIED)
    frames = [("boxes", silent), ("low", verdict(0.0))]
    for order in itertools.permutations(frames):
        summary = last(order)
        assert (summary.frames, summary.worst_frame_id) == (2, "low")
    assert last([("boxes", silent)]).decision is Decision.UNSPECIFIED


def test_studies_do_not_mix():
    tally = StudyTally()
    tally.add("1", "a", 1, verdict(0.9))
    assert tally.add("2", "b", 2, verdict(0.1)).worst_frame_id == "b"
    assert tally.add("1", "c", 3, verdict(0.2)).worst_frame_id == "a"


def test_the_least_recently_seen_study_is_forgotten_first():
    tally = StudyTally(max_studies=2)
    for uid in ("1", "2", "1", "3"):
        tally.add(uid, "x", 0, verdict(0.5))
    assert tally.add("1", "x", 0, verdict(0.5)).frames == 3
    assert tally.add("2", "x", 0, verdict(0.5)).frames == 1
