"""The rules, asked of a queue; every answer is also held to those on all tickets."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import batching_policy
from support.comparisons import compared_from_times

from spinert.runtime.engine.batching import Idle, Release, WaitUntil
from spinert.runtime.engine.costs import UNKNOWN_COSTS, Cost, CostModel, Costs, Proof
from spinert.runtime.engine.line import WaitingLine
from spinert.runtime.engine.ticket import BatchRules, Ticket
from spinert.runtime.frame import Priority
from spinert.runtime.verdict import ReleaseReason

RULES = BatchRules(max_batch=3, max_delay_s=0.5, patience_s=10.0)
SMALL, LARGE = (64, 64), (96, 64)


def ticket(order, **fields):
    return Ticket(**{"order": order, "size": SMALL, "queued_s": 0.0} | fields)


def arrived(drawn):
    """Number frames in the order in which they came."""
    in_order = sorted(drawn, key=lambda each: each.queued_s)
    return [replace(each, order=number) for number, each in enumerate(in_order)]


def line(waiting, rules=RULES):
    found = WaitingLine(rules)
    for each in waiting:
        found.put(each)
    return found


def next_step(waiting, now_s, rules, *, costs=UNKNOWN_COSTS, served=None, **options):
    """Ask a queue of frames that arrived in this order."""
    queue = line(waiting, rules)
    if served:
        queue._served.by_device.update(served)
    expected = batching_policy.next_step(
        waiting, now_s, rules, costs=costs, served=queue.served, **options
    )
    found = queue.take(now_s, costs, **options)
    assert found == expected
    return found


def doomed(waiting, now_s, costs=UNKNOWN_COSTS):
    found = tuple(line(waiting).take_doomed(now_s, costs))
    assert found == batching_policy.doomed(waiting, now_s, costs)
    return found


def released(waiting, now_s=0.5, rules=RULES, **options):
    step = next_step(waiting, now_s, rules, **options)
    assert isinstance(step, Release)
    return [t.order for t in step.tickets]


def test_an_empty_queue_is_idle():
    assert next_step([], 0.0, RULES) == Idle()
    assert next_step([], 0.0, RULES, draining=True) == Idle()


def test_a_lone_frame_waits_for_company_up_to_the_delay():
    assert next_step([ticket(0)], 0.2, RULES) == WaitUntil(time_s=0.5)
    step = next_step([ticket(0)], 0.5, RULES)
    assert step == Release(tickets=(ticket(0),), reason=ReleaseReason.DELAY)


def test_the_time_to_wait_for_is_due_when_it_comes():
    for queued_s in (0.1, 12345.678901, 1e7 / 3):
        waiting = [ticket(0, queued_s=queued_s)]
        step = next_step(waiting, queued_s, RULES)
        assert isinstance(step, WaitUntil)
        assert isinstance(next_step(waiting, step.time_s, RULES), Release)
        before = math.nextafter(step.time_s, 0)
        assert isinstance(next_step(waiting, before, RULES), WaitUntil)


def test_a_full_batch_leaves_at_once():
    step = next_step([ticket(i) for i in range(4)], 0.0, RULES)
    assert step.reason is ReleaseReason.FULL
    assert [t.order for t in step.tickets] == [0, 1, 2]


def test_draining_waits_for_no_company():
    step = next_step([ticket(0)], 0.0, RULES, draining=True)
    assert step == Release(tickets=(ticket(0),), reason=ReleaseReason.DRAIN)


def test_a_full_batch_is_called_full_even_while_draining():
    step = next_step([ticket(i) for i in range(3)], 0.0, RULES, draining=True)
    assert step.reason is ReleaseReason.FULL


def test_frames_of_different_size_never_share_a_batch():
    waiting = [ticket(0), ticket(1, size=LARGE), ticket(2)]
    assert released(waiting) == [0, 2]
    assert released([ticket(1, size=(64, 96)), ticket(3, size=(96, 64))]) == [1]


def test_sizes_do_not_fill_each_others_batch():
    waiting = [ticket(0), ticket(1, size=LARGE), ticket(2)]
    assert next_step(waiting, 0.1, RULES) == WaitUntil(time_s=0.5)


def test_the_delay_counts_from_the_oldest_of_a_size():
    waiting = [ticket(0, queued_s=0.1), ticket(1, queued_s=0.4)]
    assert next_step(waiting, 0.5, RULES) == WaitUntil(time_s=0.6)
    assert released(waiting, 0.6) == [0, 1]


def test_a_size_that_is_due_does_not_wait_for_one_that_is_not():
    waiting = [ticket(0, queued_s=0.4), ticket(1, size=LARGE, queued_s=0.0)]
    assert released(waiting, 0.5) == [1]


def test_stat_goes_before_everything():
    waiting = [
        ticket(0, queued_s=-100.0),
        ticket(1, deadline_s=1.0),
        ticket(2, priority=Priority.STAT),
        ticket(3, priority=Priority.STAT, deadline_s=5.0),
    ]
    assert released(waiting) == [3, 2, 0]


def test_a_stat_frame_brings_its_size_forward():
    waiting = [
        *(ticket(i, deadline_s=0.6) for i in range(3)),
        ticket(3, size=LARGE, priority=Priority.STAT),
    ]
    assert released(waiting) == [3]


def test_the_earliest_deadline_goes_first():
    waiting = [ticket(0), ticket(1, deadline_s=9.0), ticket(2, deadline_s=2.0)]
    assert released(waiting) == [2, 1, 0]


def test_devices_take_turns():
    flood = [ticket(i, device="flood") for i in range(5)]
    waiting = [*flood, ticket(5, device="a"), ticket(6, device="b")]
    assert released(waiting) == [0, 5, 6]


def test_the_device_served_longest_ago_goes_first():
    waiting = [ticket(0, device="a"), ticket(1, device="b")]
    rules = BatchRules(max_batch=1, max_delay_s=0.0)
    assert released(waiting, rules=rules, served={"a": 7, "b": 3}) == [1]
    assert released(waiting, rules=rules, served={"a": 3, "b": 7}) == [0]


def test_among_equals_the_first_to_arrive_goes_first():
    assert released([ticket(n, queued_s=0.1 * n) for n in range(3)]) == [0, 1, 2]


def test_after_the_patience_deadlines_do_not_help_to_overtake():
    old = ticket(0, queued_s=0.0, device="a")
    urgent = ticket(1, queued_s=9.0, deadline_s=10.5, device="b")
    rules = BatchRules(max_batch=1, max_delay_s=0.0, patience_s=10.0)
    assert released([old, urgent], 9.9, rules) == [1]
    assert released([old, urgent], 10.0, rules) == [0]


@pytest.mark.parametrize("deadline_s", [0.5, 0.4])
def test_a_frame_whose_deadline_has_come_is_never_released(deadline_s):
    dead, live = ticket(0, deadline_s=deadline_s), ticket(1)
    assert doomed([dead, live], 0.5) == (dead,)
    assert released([dead, live]) == [1]
    assert next_step([dead], 0.5, RULES) == Idle()


def test_expired_frames_do_not_fill_a_batch():
    waiting = [ticket(0, queued_s=0.3), *(ticket(i, deadline_s=0.1) for i in (1, 2))]
    assert next_step(waiting, 0.4, RULES) == WaitUntil(time_s=0.8)


def test_every_small_queue_obeys_the_order_of_the_rules():
    """Check the batch against the definition for all pairs of distinct frames."""
    kinds = list(
        itertools.product(
            (Priority.ROUTINE, Priority.STAT), (2.0, math.inf), ("a", "b"), (0.0, -20.0)
        )
    )
    rules = BatchRules(max_batch=1, max_delay_s=0.0, patience_s=10.0)
    served = {"a": 1, "b": 2}
    for first, second in itertools.product(kinds, repeat=2):
        pair = arrived(
            ticket(0, priority=p, deadline_s=d, device=device, queued_s=queued_s)
            for p, d, device, queued_s in (first, second)
        )
        (winner,) = released(pair, 1.0, rules, served=served)
        assert winner == by_definition(pair, served).order


def by_definition(pair, served):
    one, two = pair
    if one.priority != two.priority:
        return max(pair, key=lambda t: t.priority)
    waited_long = [t.queued_s < -1 for t in pair]
    if waited_long[0] != waited_long[1]:
        return min(pair, key=lambda t: t.queued_s)
    if not waited_long[0] and one.deadline_s != two.deadline_s:
        return min(pair, key=lambda t: t.deadline_s)
    dated = not waited_long[0] and one.deadline_s < math.inf
    if one.device != two.device and not dated:
        return min(pair, key=lambda t: served[t.device])
    return min(pair, key=lambda t: t.order)


tickets = st.lists(
    st.builds(
        Ticket,
        order=st.just(0),
        size=st.sampled_from([SMALL, LARGE, (32, 32)]),
        queued_s=st.floats(0, 20),
        device=st.sampled_from("abc"),
        priority=st.sampled_from(Priority),
        deadline_s=st.one_of(st.just(math.inf), st.floats(0, 40)),
    ),
    max_size=20,
).map(arrived)


@settings(max_examples=200)
@given(tickets, st.floats(0, 30), st.integers(1, 6), st.booleans())
def test_any_step_keeps_the_promises(waiting, now_s, max_batch, draining):
    rules = BatchRules(max_batch=max_batch, max_delay_s=2.0, patience_s=5.0)
    live = [t for t in waiting if t.deadline_s > now_s]
    step = next_step(waiting, now_s, rules, draining=draining)
    if isinstance(step, Idle):
        assert not live
    elif isinstance(step, WaitUntil):
        assert not draining
        assert step.time_s > now_s
        assert step.time_s == min(t.queued_s for t in live) + 2.0
        sizes = [t.size for t in live]
        assert all(sizes.count(size) < max_batch for size in sizes)
    else:
        check_release(step, live, now_s, max_batch)


def check_release(step, live, now_s, max_batch):
    chosen = step.tickets
    assert set(chosen) <= set(live)
    assert 1 <= len(chosen) <= max_batch
    assert len({t.size for t in chosen}) == 1
    group = [t for t in live if t.size == chosen[0].size]
    assert len(chosen) == min(len(group), max_batch), "no free slot is wasted"
    if step.reason is ReleaseReason.FULL:
        assert len(chosen) == max_batch
    if step.reason is ReleaseReason.DELAY:
        assert min(t.queued_s for t in group) + 2.0 <= now_s
        assert len(chosen) < max_batch
    left = [t for t in group if t not in chosen]
    assert all(t.priority <= min(c.priority for c in chosen) for t in left)


# ------------------------------------------------------------------ with costs


def costs(per_size, checked_s=math.inf, runs=3):
    """Return costs of the sizes given, by batch, in seconds."""
    measured = {
        size: tuple((n, Cost(typical_s=s, late_s=s)) for n, s in sorted(curve.items()))
        for size, curve in per_size.items()
    }
    compared = {
        size: compared_from_times(curve)
        for size, curve in per_size.items()
        if 1 in curve
    }
    proofs = {
        size: Proof(
            least_s=min(cost.typical_s for _, cost in curve),
            runs=runs,
            checked_s=checked_s,
        )
        for size, curve in measured.items()
    }
    return Costs(measured=measured, proofs=proofs, compared=compared)


GAINS = costs({SMALL: {1: 0.1, 2: 0.12, 3: 0.14}})
SPLITS = costs({SMALL: {1: 0.1, 2: 0.2, 3: 0.3}})
LONG = BatchRules(max_batch=3, max_delay_s=0.5, margin_s=0.01)


def test_the_first_deadline_less_the_cost_of_the_batch_releases_it():
    waiting = [ticket(0, deadline_s=9.0), ticket(1, deadline_s=0.4)]
    step = next_step(waiting, 0.1, LONG, costs=GAINS)
    assert step == WaitUntil(time_s=0.4 - 0.12 - 0.01)
    step = next_step(waiting, step.time_s, LONG, costs=GAINS)
    assert step.reason is ReleaseReason.DEADLINE
    assert [t.order for t in step.tickets] == [1, 0]


def test_the_batches_of_other_sizes_are_left_time_to_go_first():
    known = costs({SMALL: {1: 0.1, 3: 0.1}, LARGE: {1: 0.25, 3: 0.25}})
    small, large = ticket(0, deadline_s=0.45), ticket(1, size=LARGE, deadline_s=0.9)
    assert next_step([small], 0.0, LONG, costs=known).time_s == pytest.approx(0.34)
    both = next_step([small, large], 0.0, LONG, costs=known)
    assert both.time_s == pytest.approx(0.09)


def test_a_third_frame_brings_the_release_forward():
    two = [ticket(0, deadline_s=0.4), ticket(1)]
    rules = BatchRules(max_batch=4, max_delay_s=0.5, margin_s=0.01)
    gains = costs({SMALL: {1: 0.1, 3: 0.14, 4: 0.16}})
    sooner = next_step([*two, ticket(2)], 0.0, rules, costs=gains).time_s
    assert sooner == pytest.approx(
        next_step(two, 0.0, rules, costs=gains).time_s - 0.02
    )


def test_where_company_gains_nothing_a_frame_does_not_wait_for_it():
    step = next_step([ticket(0)], 0.0, LONG, costs=SPLITS)
    assert step == Release(tickets=(ticket(0),), reason=ReleaseReason.NO_GAIN)
    assert isinstance(next_step([ticket(0)], 0.0, LONG, costs=GAINS), WaitUntil)
    assert isinstance(next_step([ticket(0)], 0.0, LONG), WaitUntil)


def test_where_company_was_never_compared_a_frame_does_not_wait_for_it():
    step = next_step([ticket(0)], 0.0, LONG, costs=costs({SMALL: {1: 0.3}}))
    assert step == Release(tickets=(ticket(0),), reason=ReleaseReason.NO_GAIN)


def test_a_deadline_that_only_company_can_meet_releases_it():
    """What frames take alone was measured in a slower moment."""
    known = costs({SMALL: {1: 0.3, 2: 0.1, 4: 0.12}})
    waiting = [ticket(0, deadline_s=1.0), ticket(1)]
    rules = BatchRules(max_batch=4, max_delay_s=2.0, margin_s=0.005)
    wait = next_step(waiting, 0.0, rules, costs=known)
    assert wait == WaitUntil(time_s=1.0 - 0.1 - 0.005)
    step = next_step(waiting, wait.time_s, rules, costs=known)
    assert step.reason is ReleaseReason.DEADLINE


def test_two_do_not_wait_for_a_third_that_would_gain_nothing():
    known = costs({SMALL: {1: 0.1, 2: 0.12, 3: 0.3}})
    one, two = ticket(0), ticket(1)
    assert isinstance(next_step([one], 0.0, LONG, costs=known), WaitUntil)
    step = next_step([one, two], 0.0, LONG, costs=known)
    assert step == Release(tickets=(one, two), reason=ReleaseReason.NO_GAIN)


def test_a_batch_shrinks_until_its_first_deadline_can_be_met():
    def batch(deadline_s):
        waiting = [ticket(0, deadline_s=deadline_s), ticket(1), ticket(2)]
        step = next_step(waiting, 0.0, LONG, costs=SPLITS)
        return [t.order for t in step.tickets], step.reason

    assert batch(0.3) == ([0, 1, 2], ReleaseReason.FULL)
    assert batch(0.29) == ([0, 1], ReleaseReason.DEADLINE)
    assert batch(0.19) == ([0], ReleaseReason.DEADLINE)


def test_a_deadline_that_is_lost_anyway_shrinks_no_batch():
    waiting = [ticket(0, deadline_s=0.09), ticket(1), ticket(2)]
    step = next_step(waiting, 0.0, LONG, costs=SPLITS)
    assert len(step.tickets) == 3
    assert step.reason is ReleaseReason.FULL


@pytest.mark.parametrize(("deadline_s", "gone"), [(10.09, True), (10.11, False)])
def test_a_frame_that_alone_would_be_late_is_dropped(deadline_s, gone):
    known = costs({SMALL: {1: 0.1}}, checked_s=9.5)
    frame = ticket(0, deadline_s=deadline_s)
    assert doomed([frame], 10.0, known) == ((frame,) if gone else ())
    assert doomed([frame], 10.0) == ()


def test_costs_that_were_not_checked_lately_drop_no_frame():
    """The frame is their check: else one slow moment would refuse for ever."""
    frame = ticket(0, deadline_s=10.05)
    assert doomed([frame], 10.0, costs({SMALL: {1: 0.1}}, checked_s=8.9)) == ()
    assert doomed([frame], 10.0, costs({SMALL: {1: 0.1}}, checked_s=9.1)) == (frame,)


def test_two_runs_of_a_size_drop_no_frame_of_it():
    frame = ticket(0, deadline_s=10.05)
    once = costs({SMALL: {1: 0.1}}, checked_s=10.0, runs=2)
    assert doomed([frame], 10.0, once) == ()
    often = costs({SMALL: {1: 0.1}}, checked_s=10.0, runs=3)
    assert doomed([frame], 10.0, often) == (frame,)


def test_one_slow_first_run_of_a_rare_size_does_not_lock_it_out():
    """Beside steady traffic of another size, which tells nothing of this one."""
    model, now_s, dropped = CostModel(), 100.0, 0
    for _ in range(9):
        model.observe(SMALL, 1, start_s=now_s, end_s=now_s + 0.02)
        now_s += 0.02
    model.observe(LARGE, 1, start_s=now_s, end_s=now_s + 1.5)
    now_s += 1.5
    for number in range(300):
        model.observe(SMALL, 1, start_s=now_s, end_s=now_s + 0.02)
        now_s += 0.02
        if number % 50 == 0:
            frame = ticket(number, size=LARGE, deadline_s=now_s + 1.0)
            if doomed([frame], now_s, model.costs):
                dropped += 1
                continue
            model.observe(LARGE, 1, start_s=now_s, end_s=now_s + 0.02)
            now_s += 0.02
    assert dropped == 0


def test_a_size_that_takes_long_is_tried_again_once_it_has_not_run_for_a_second():
    model = CostModel()
    for start_s in (0.0, 2.0, 4.0):
        model.observe(LARGE, 1, start_s=start_s, end_s=start_s + 1.5)
    frame = ticket(0, size=LARGE, deadline_s=7.0)
    assert doomed([frame], 6.0, model.costs) == (frame,)
    for start_s in (5.5, 6.0, 6.5):
        model.observe(SMALL, 1, start_s=start_s, end_s=start_s + 0.02)
    late = ticket(0, size=LARGE, deadline_s=7.6)
    assert doomed([late], 6.6, model.costs) == ()


def test_a_cost_of_another_size_drops_no_frame():
    frame = ticket(0, size=LARGE, deadline_s=10.05)
    assert doomed([frame], 10.0, costs({SMALL: {1: 0.1}}, checked_s=10.0)) == ()


curves = st.dictionaries(
    st.sampled_from([SMALL, LARGE, (32, 32)]),
    st.dictionaries(st.integers(1, 6), st.sampled_from([0.1, 0.3, 1, 3]), min_size=1),
)


@settings(max_examples=150)
@given(tickets, st.floats(0, 30), st.integers(1, 6), curves)
def test_no_frame_is_late_for_the_sake_of_its_batch(waiting, now_s, max_batch, curves):
    known = costs(curves)
    rules = BatchRules(max_batch=max_batch, max_delay_s=2.0, patience_s=5.0)
    step = next_step(waiting, now_s, rules, costs=known)
    if isinstance(step, WaitUntil):
        assert step.time_s > now_s
        if all(t.deadline_s > step.time_s for t in waiting if t.deadline_s > now_s):
            assert isinstance(
                next_step(waiting, step.time_s, rules, costs=known), Release
            )
    if isinstance(step, Release) and len(step.tickets) > 1:
        size = step.tickets[0].size
        if (cost := known.of(size, len(step.tickets))) is None:
            return
        alone_s = known.of(size, 1).typical_s
        for chosen in step.tickets:
            if now_s + alone_s <= chosen.deadline_s:
                assert now_s + cost.late_s <= chosen.deadline_s


@pytest.mark.parametrize("deadline_s", [math.inf, 0.3])
def test_a_rare_size_is_served_however_many_others_keep_coming(deadline_s):
    """Overload: three frames of the usual size arrive for each three served."""
    rules = BatchRules(max_batch=3, max_delay_s=0.0, patience_s=1.0)
    rare = ticket(0, size=LARGE, device="rare")
    waiting, now_s, orders = [rare], 0.0, itertools.count(1)
    while now_s < 5.0:
        for _ in range(3):
            # Always due before the rare one: with and without a deadline.
            waiting.append(
                ticket(
                    next(orders),
                    queued_s=now_s,
                    device="flood",
                    deadline_s=now_s + deadline_s,
                )
            )
        step = next_step(waiting, now_s, rules)
        if rare in step.tickets:
            return
        waiting = [t for t in waiting if t not in step.tickets]
        now_s += 0.1
    pytest.fail("the rare size starved")
