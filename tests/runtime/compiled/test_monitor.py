"""How far a build is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_tensorrt import FakeTensorrt

from spinert.runtime.compiled.monitor import PhaseTree, progress_monitor


def test_steps_of_an_inner_phase_are_parts_of_an_outer_step():
    tree = PhaseTree()
    tree.start("build", None, 4)
    assert tree.fraction() == 0
    tree.step("build", 0)
    assert tree.fraction() == 0.25
    tree.start("optimise", "build", 2)
    tree.step("optimise", 0)
    assert tree.fraction() == pytest.approx(0.375)
    tree.start("time", "optimise", 5)
    tree.step("time", 4)
    assert tree.fraction() == pytest.approx(0.5)


def test_a_phase_that_comes_again_does_not_set_progress_back():
    tree = PhaseTree()
    tree.start("build", None, 2)
    tree.start("time", "build", 10)
    tree.step("time", 8)
    before = tree.fraction()
    tree.finish("time")
    tree.start("time", "build", 10)
    assert tree.fraction() == before == pytest.approx(0.45)


def test_what_was_never_started_counts_for_nothing():
    tree = PhaseTree()
    tree.step("unknown", 3)
    tree.finish("unknown")
    assert tree.fraction() == 0
    tree.start("orphan", "unknown", 2)
    tree.step("orphan", 0)
    assert tree.fraction() == 0.5


NAMES = st.sampled_from(["a", "b", "c"])
EVENTS = st.one_of(
    st.tuples(
        st.just("start"), NAMES, st.sampled_from([None, "a", "b"]), st.integers(0, 4)
    ),
    st.tuples(st.just("step"), NAMES, st.integers(-1, 9)),
    st.tuples(st.just("finish"), NAMES),
)


@given(st.lists(EVENTS, max_size=30))
def test_the_fraction_never_falls_and_never_leaves_0_to_1(events):
    tree = PhaseTree()
    last = 0.0
    for name, *arguments in events:
        getattr(tree, name)(*arguments)
        fraction = tree.fraction()
        assert last <= fraction <= 1
        last = fraction


def test_a_failure_stops_every_step_that_follows_and_is_told_once():
    told = []

    def fail(fraction):
        told.append(fraction)
        raise KeyboardInterrupt

    monitor = progress_monitor(FakeTensorrt(), fail)
    monitor.phase_start("build", None, 4)
    assert [monitor.step_complete("build", step) for step in range(3)] == [False] * 3
    assert told == [0.25]
    assert isinstance(monitor.failure, KeyboardInterrupt)


def test_a_build_goes_on_while_nothing_fails():
    told: list[float] = []
    monitor = progress_monitor(FakeTensorrt(), told.append)
    monitor.phase_start("build", None, 2)
    assert monitor.step_complete("build", 0)
    assert monitor.step_complete("build", 1)
    assert told == [0.5, 1.0]
    assert monitor.failure is None
