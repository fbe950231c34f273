from __future__ import annotations

import pytest

from spinert.runtime.engine.costs import UNKNOWN_COSTS
from spinert.runtime.engine.durations import Durations


def learned(*runs, workers=1, kind="raw"):
    durations, end_s = Durations(workers), 0.0
    for seconds in runs:
        durations.observe(kind, end_s, end_s + seconds)
        end_s += seconds
    return durations


def alone(costs):
    return costs.of(costs.usual, 1)


def test_two_runs_say_nothing_yet():
    assert learned(1.0, 1.0).costs("raw") == UNKNOWN_COSTS
    assert alone(learned(1.0, 0.1, 0.1).costs("raw")).typical_s == pytest.approx(0.1)


def test_one_run_that_was_held_up_changes_nothing():
    held_up = learned(*[0.1] * 4, 5.0, *[0.1] * 4).costs("raw")
    assert alone(held_up).typical_s == pytest.approx(0.1)
    assert alone(held_up).late_s == pytest.approx(0.1)


class Workers:
    """Several that begin and end together."""

    def __init__(self, count):
        self.count, self.now_s = count, 0.0
        self.durations = Durations(count)

    def run(self, seconds, times=1):
        for _ in range(times):
            start_s, self.now_s = self.now_s, self.now_s + seconds
            for _ in range(self.count):
                self.durations.observe("raw", start_s, self.now_s)

    @property
    def cost(self):
        return alone(self.durations.costs("raw"))


@pytest.mark.parametrize("count", [2, 5, 16])
def test_what_holds_up_all_workers_at_once_changes_nothing(count):
    workers = Workers(count)
    workers.run(0.1, 3)
    workers.run(2.0)
    assert workers.cost.late_s == pytest.approx(0.1)
    assert workers.cost.typical_s == pytest.approx(0.1)


@pytest.mark.parametrize("count", [1, 2, 16])
def test_five_rounds_are_enough_to_follow_a_change(count):
    workers = Workers(count)
    workers.run(0.1, 9)
    workers.run(2.0, 4)
    assert workers.cost.typical_s == pytest.approx(0.1)
    workers.run(2.0)
    assert workers.cost.typical_s == pytest.approx(2.0)


def test_kinds_are_kept_apart():
    durations = learned(*[0.3] * 5, kind="file")
    assert durations.costs("raw") == UNKNOWN_COSTS
    assert durations.costs("file").checked_s == pytest.approx(1.5)


def test_several_workers_have_frames_out_of_the_way_sooner():
    costs = learned(*[0.1] * 9, workers=4).costs("raw")
    assert costs.pace_s == pytest.approx(0.025)
    assert alone(costs).typical_s == pytest.approx(0.1), "one frame is no faster"


def test_a_clock_that_stands_still_tells_nothing():
    assert learned(*[0.0] * 9).costs("raw") == UNKNOWN_COSTS
