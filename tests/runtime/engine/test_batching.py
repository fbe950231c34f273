from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinert.runtime.engine.batching import (
    BatchRules,
    Idle,
    Release,
    Ticket,
    WaitUntil,
    expired,
    next_step,
)
from spinert.runtime.frame import Priority
from spinert.runtime.verdict import ReleaseReason

RULES = BatchRules(max_batch=3, max_delay_s=0.5, patience_s=10.0)
SMALL, LARGE = (64, 64), (96, 64)


def ticket(order, **fields):
    return Ticket(**{"order": order, "size": SMALL, "queued_s": 0.0} | fields)


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
    waiting = [ticket(0, queued_s=0.4), ticket(1, queued_s=0.1)]
    assert next_step(waiting, 0.5, RULES) == WaitUntil(time_s=0.6)
    assert released(waiting, 0.6) == [0, 1]


def test_a_size_that_is_due_does_not_wait_for_one_that_is_not():
    waiting = [ticket(0, queued_s=0.4), ticket(1, size=LARGE, queued_s=0.0)]
    assert released(waiting, 0.5) == [1]


def test_stat_goes_before_everything():
    waiting = [
        ticket(0, deadline_s=1.0),
        ticket(1, priority=Priority.STAT),
        ticket(2, queued_s=-100.0),
        ticket(3, priority=Priority.STAT, deadline_s=5.0),
    ]
    assert released(waiting) == [3, 1, 2]


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
    assert released([ticket(2), ticket(0), ticket(1)]) == [0, 1, 2]


def test_after_the_patience_deadlines_do_not_help_to_overtake():
    old = ticket(0, queued_s=0.0, device="a")
    urgent = ticket(1, queued_s=9.0, deadline_s=10.5, device="b")
    rules = BatchRules(max_batch=1, max_delay_s=0.0, patience_s=10.0)
    assert released([old, urgent], 9.9, rules) == [1]
    assert released([old, urgent], 10.0, rules) == [0]


@pytest.mark.parametrize("deadline_s", [0.5, 0.4])
def test_a_frame_whose_deadline_has_come_is_never_released(deadline_s):
    dead, live = ticket(0, deadline_s=deadline_s), ticket(1)
    assert expired([dead, live], 0.5) == (dead,)
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
        pair = [
            ticket(order, priority=p, deadline_s=d, device=device, queued_s=queued_s)
            for order, (p, d, device, queued_s) in enumerate((first, second))
        ]
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
    if one.device != two.device:
        return min(pair, key=lambda t: served[t.device])
    return min(pair, key=lambda t: t.order)


tickets = st.lists(
    st.builds(
        Ticket,
        order=st.integers(0, 10**6),
        size=st.sampled_from([SMALL, LARGE, (32, 32)]),
        queued_s=st.floats(0, 20),
        device=st.sampled_from("abc"),
        priority=st.sampled_from(Priority),
        deadline_s=st.one_of(st.just(math.inf), st.floats(0, 40)),
    ),
    max_size=20,
    unique_by=lambda t: t.order,
)


@settings(deadline=None, max_examples=400)
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


@settings(deadline=None, max_examples=200)
@given(tickets, st.floats(0, 30), st.randoms())
def test_the_order_in_which_a_queue_is_listed_has_no_effect(waiting, now_s, random):
    rules = BatchRules(max_batch=2, max_delay_s=1.0, patience_s=5.0)
    shuffled = list(waiting)
    random.shuffle(shuffled)
    assert next_step(waiting, now_s, rules) == next_step(shuffled, now_s, rules)


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
