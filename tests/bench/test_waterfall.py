"""Who owns each millisecond."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinert.bench.outcomes import Outcome, StageTime
from spinert.bench.waterfall import BETWEEN, OUTSIDE, owners_of, waterfall_of


def stage(name: str, start_ms: float, duration_ms: float) -> StageTime:
    return StageTime(name=name, start_ms=start_ms, duration_ms=duration_ms)


def test_stages_at_the_same_time_share_it():
    stages = (stage("classifier", 0, 10), stage("detector", 5, 15))
    assert owners_of(stages, 20) == pytest.approx(
        {"classifier": 7.5, "detector": 12.5, BETWEEN: 0}
    )


def test_time_in_no_stage_is_owned_by_nobody_else():
    stages = (stage("prepare", 2, 3), stage("decide", 8, 1))
    owned = owners_of(stages, 10)
    assert owned == pytest.approx({"prepare": 3, "decide": 1, BETWEEN: 6})


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 50), st.floats(0, 50)),
        max_size=6,
    )
)
def test_owners_always_add_up_to_the_whole(drawn):
    stages = [stage(*values) for values in drawn]
    total = max((s.start_ms + s.duration_ms for s in stages), default=0.0) + 1
    assert sum(owners_of(stages, total).values()) == pytest.approx(total)


def outcome(latency_ms: float, total_ms: float, *stages: StageTime) -> Outcome:
    return Outcome(
        frame=0,
        due_s=1.0,
        sent_s=1.0,
        ended_s=1.0 + latency_ms / 1000,
        stages=stages,
        total_ms=total_ms,
    )


def test_mean_owners_add_up_to_the_mean_latency():
    outcomes = [
        outcome(10, 8, stage("prepare", 0, 3), stage("detector", 4, 4)),
        outcome(20, 15, stage("prepare", 0, 5), stage("detector", 5, 10)),
    ]
    told = waterfall_of(outcomes)
    assert sum(told["mean_ms"].values()) == pytest.approx(15)
    assert told["mean_ms"][OUTSIDE] == pytest.approx(3.5)
    assert [entry["name"] for entry in told["stages"]] == ["prepare", "detector"]
    assert told["stages"][1] == pytest.approx(
        {"name": "detector", "start_ms": 4.5, "duration_ms": 7}
    )


def test_a_stage_that_few_frames_have_is_not_drawn_but_owned():
    rare = outcome(5, 5, stage("prepare", 0, 1), stage("recompute.detector", 1, 4))
    told = waterfall_of([rare, *[outcome(2, 2, stage("prepare", 0, 1))] * 3])
    assert [entry["name"] for entry in told["stages"]] == ["prepare"]
    assert told["mean_ms"]["recompute.detector"] == pytest.approx(1)
