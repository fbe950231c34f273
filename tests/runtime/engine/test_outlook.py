from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import request

from spinert.runtime.engine.costs import UNKNOWN_COSTS, Cost, Costs
from spinert.runtime.engine.outlook import Outlook, prospect
from spinert.runtime.engine.stage_line import Stage, StageLoad
from spinert.runtime.frame import FrameRequest, Priority

SIZE = (64, 64)
NOW_S = 100.0


@dataclass(eq=False)
class Item:
    request: FrameRequest
    groups: tuple[tuple[str, ...], ...] = (("network",),)


def item(deadline_s=math.inf, **fields):
    late_s = None if deadline_s == math.inf else NOW_S + deadline_s
    return Item(request(deadline_s=late_s, **fields))


def costs(pace_s=0.1, curve=((1, 0.1), (4, 0.4)), checked_s=NOW_S):
    points = tuple((n, Cost(typical_s=s, late_s=s)) for n, s in curve)
    return Costs(
        measured={SIZE: points}, usual=SIZE, pace_s=pace_s, checked_s=checked_s
    )


def outlook(known=None, max_batch=1, **stages):
    if not stages:
        stages = {"network": known or costs()}
    return Outlook(
        {
            name: Stage(costs=lambda _, found=found: found, max_batch=max_batch)
            for name, found in stages.items()
        },
        lambda entry: entry.groups,
    )


def ahead_of(view, new):
    """Return the wait that `view` expects for `new`, in frames of 0.1 s."""
    found = view.prospect(new, NOW_S)
    factor = view._headroom
    return round((found.finish_s - NOW_S - 0.1) / 0.1 / factor, 6)


# ------------------------------------------------------------- the sum, as such


def test_a_frame_waits_for_the_stage_that_has_most_before_it():
    slow = StageLoad(wait_s=2.0, pace_s=0.2, own_s=0.3, alone_s=0.3)
    fast = StageLoad(wait_s=0.3, pace_s=0.01, own_s=0.1, alone_s=0.1)
    found = prospect([[fast], [slow]], deadline_s=5.0, now_s=1.0)
    assert found.finish_s == pytest.approx(1.0 + 2.0 + 0.4)
    assert found.alone_s == pytest.approx(0.4)


def test_networks_of_one_group_run_at_the_same_time():
    one, other = StageLoad(own_s=0.3), StageLoad(own_s=0.2)
    assert prospect([[one, other]], 5.0, 0.0).finish_s == pytest.approx(0.3)
    assert prospect([[one], [other]], 5.0, 0.0).finish_s == pytest.approx(0.5)


def test_there_are_as_many_places_as_fit_before_the_deadline():
    load = StageLoad(wait_s=2.0, pace_s=1.0, own_s=1.0)
    assert prospect([[load]], 2.9, 0.0).places == 0
    assert prospect([[load]], 3.0, 0.0).places == 1
    assert prospect([[load]], 5.5, 0.0).places == 3


def test_headroom_stretches_waits_and_not_the_own_time():
    load = StageLoad(wait_s=2.0, pace_s=1.0, own_s=1.0)
    assert prospect([[load]], 9.0, 0.0, 1.5).finish_s == pytest.approx(4.0)
    assert prospect([[StageLoad(own_s=1.0)]], 9.0, 0.0, 3.0).finish_s == 1.0


# ------------------------------------------------------------ what is in flight


def test_only_frames_that_go_before_it_count():
    view = outlook()
    view.enter(item(2.0))
    view.enter(item(9.0))
    assert ahead_of(view, item(1.0)) == 1, "one of the later may have begun"
    assert ahead_of(view, item(3.0)) == 2
    assert ahead_of(view, item(10.0)) == 2


def test_frames_without_a_deadline_hold_up_one_batch_at_most():
    view = outlook()
    for _ in range(20):
        view.enter(item())
    assert ahead_of(view, item(5.0)) == 1


def test_stat_waits_for_stat_alone():
    view = outlook()
    for _ in range(5):
        view.enter(item(1.0))
    for _ in range(3):
        view.enter(item(1.0, priority=Priority.STAT))
    assert ahead_of(view, item(2.0, priority=Priority.STAT)) == 4
    assert ahead_of(view, item(2.0)) == 8


def test_what_runs_counts_until_it_is_expected_to_end():
    view = outlook()
    first = item(5.0)
    view.enter(first)
    view.begin("network", [first], NOW_S)
    assert view.prospect(item(5.0), NOW_S).finish_s == pytest.approx(
        NOW_S + 0.1 * view._headroom + 0.1
    )
    assert view.prospect(item(5.0), NOW_S + 0.1).finish_s == pytest.approx(NOW_S + 0.2)


def test_a_frame_that_left_is_not_waited_for():
    view = outlook()
    gone, stays = item(2.0), item(2.0)
    view.enter(gone)
    view.enter(stays)
    view.leave(gone)
    assert ahead_of(view, item(5.0)) == 1
    view.begin("network", [gone], NOW_S - 0.1)
    view.leave(gone)
    assert ahead_of(view, item(5.0)) == 1


def test_a_frame_with_nothing_ahead_counts_on_a_batch_of_its_own():
    view = outlook(costs(pace_s=0.1), max_batch=4)
    assert view.prospect(item(5.0), NOW_S).finish_s == pytest.approx(NOW_S + 0.1)
    view.enter(item(1.0))
    assert view.prospect(item(5.0), NOW_S).finish_s == pytest.approx(NOW_S + 0.4)


def test_an_earlier_deadline_is_not_let_in_at_the_cost_of_a_later_one():
    view = outlook()
    for _ in range(8):
        view.enter(item(1.0))
    assert view.prospect(item(0.9), NOW_S).overtakes is False, "the last has time"
    for _ in range(2):
        view.enter(item(1.1))
    assert view.prospect(item(0.9), NOW_S).overtakes is True
    assert view.prospect(item(1.2), NOW_S).overtakes is False
    assert view.prospect(item(0.9, priority=Priority.STAT), NOW_S).overtakes is False


def test_a_frame_that_is_late_anyway_holds_no_place():
    view = outlook()
    for _ in range(15):
        view.enter(item(1.0))
    assert view.prospect(item(0.9), NOW_S).overtakes is True
    doomed = outlook()
    for _ in range(3):
        doomed.enter(item(0.05))
    assert doomed.prospect(item(0.04), NOW_S).overtakes is False


def test_nothing_is_expected_of_what_is_not_known():
    found = outlook(UNKNOWN_COSTS).prospect(item(0.001), NOW_S)
    assert found.finish_s == NOW_S
    assert found.places > 1000
    assert outlook().prospect(item(), NOW_S) is None


def test_an_idle_stage_that_was_not_checked_lately_refuses_nobody():
    """Else a network that was slow once would stay refused for ever."""
    old = outlook(costs(checked_s=NOW_S - 1.1))
    assert old.prospect(item(0.01), NOW_S).finish_s == NOW_S
    old.enter(item(5.0))
    assert old.prospect(item(0.01), NOW_S).finish_s > NOW_S + 0.01
    fresh = outlook(costs(checked_s=NOW_S - 0.9))
    assert fresh.prospect(item(0.01), NOW_S).finish_s > NOW_S + 0.01


def let_in(view, new=None):
    new = new or item(5.0)
    view.enter(new, view.prospect(new, NOW_S))
    return new


def test_frames_that_came_too_late_widen_the_headroom_and_others_narrow_it():
    view = outlook()
    first = view._headroom
    view.missed(let_in(view))
    assert view._headroom == pytest.approx(first + 0.1)
    for _ in range(1000):
        view.leave(let_in(view))
    assert first - 0.01 < view._headroom < first + 0.01
    for _ in range(1000):
        view.missed(let_in(view))
    assert view._headroom == 4.0
    for _ in range(100_000):
        view._promised.add(first)
        view.leave(first)
    assert view._headroom == 1.05


def test_a_prepared_frame_has_only_networks_before_it():
    view = outlook(prepare=costs(), network=costs())
    new = Item(request(deadline_s=NOW_S + 5), (("prepare",), ("network",)))
    ready = Item(request(deadline_s=NOW_S + 5))
    assert view.prospect(new, NOW_S).finish_s == pytest.approx(NOW_S + 0.2)
    assert view.prospect(ready, NOW_S).finish_s == pytest.approx(NOW_S + 0.1)


@settings(max_examples=100)
@given(st.lists(st.sampled_from([0.3, 1.0, 3.0]), max_size=60))
def test_all_that_is_let_in_is_in_time(asked):
    """With costs that hold, in the order of the queue, one at a time."""
    view, inside = outlook(), []
    for left_s in asked:
        new = item(left_s)
        found = view.prospect(new, NOW_S)
        if found.places and not found.overtakes:
            view.enter(new)
            inside.append(new.request.deadline_s)
    for place, deadline_s in enumerate(sorted(inside)):
        assert NOW_S + (place + 1) * 0.1 <= deadline_s + 1e-9
