from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batching_policy import doomed, next_step
from support.comparisons import compared_from_times

from spinert.runtime.engine.batching import Idle, Release
from spinert.runtime.engine.costs import UNKNOWN_COSTS, Cost, Costs, Proof
from spinert.runtime.engine.line import WaitingLine
from spinert.runtime.engine.ticket import BatchRules, Ticket
from spinert.runtime.frame import Priority

SIZES = [(64, 64), (96, 64), (32, 32)]


def ticket(order, **fields):
    return Ticket(**{"order": order, "size": SIZES[0], "queued_s": 0.0} | fields)


class Reference:
    """All tickets in a list, and the pure functions."""

    def __init__(self, rules):
        self.rules = rules
        self.waiting: list[Ticket] = []
        self.served: dict[str, int] = {}
        self.frames = 0

    def put(self, new):
        self.served.setdefault(new.device, self.frames)
        self.waiting.append(new)

    def withdraw(self, *gone):
        self.waiting = [t for t in self.waiting if t not in gone]
        devices = {t.device for t in self.waiting}
        self.served = {d: n for d, n in self.served.items() if d in devices}

    def take_doomed(self, now_s, costs):
        gone = doomed(self.waiting, now_s, costs)
        self.withdraw(*gone)
        return gone

    def take(self, now_s, costs, draining):
        step = next_step(
            self.waiting,
            now_s,
            self.rules,
            costs=costs,
            served=self.served,
            draining=draining,
        )
        if isinstance(step, Release):
            for chosen in step.tickets:
                self.frames += 1
                self.served[chosen.device] = self.frames
            self.withdraw(*step.tickets)
        return step


def known(seconds):
    cost = Cost(typical_s=seconds, late_s=1.5 * seconds)
    measured = {
        SIZES[0]: ((1, cost), (2, cost.scaled(1.2)), (4, cost.scaled(1.5))),
        SIZES[1]: ((1, cost), (3, cost.scaled(3))),
    }
    compared = {
        SIZES[0]: compared_from_times({1: 1.0, 2: 1.2, 4: 1.5}),
        SIZES[1]: compared_from_times({1: 1.0, 3: 3.0}),
    }
    proofs = {
        size: Proof(least_s=seconds, runs=3, checked_s=math.inf) for size in measured
    }
    return Costs(measured=measured, proofs=proofs, compared=compared)


puts = st.tuples(
    st.just("put"),
    st.fixed_dictionaries(
        {
            "size": st.sampled_from(SIZES),
            "device": st.sampled_from("abcd"),
            "priority": st.sampled_from(Priority),
            "left_s": st.one_of(st.just(math.inf), st.sampled_from([1, 3, 3, 9])),
        }
    ),
)
actions = st.lists(
    st.one_of(
        puts,
        puts,
        puts,
        st.tuples(st.just("pass"), st.sampled_from([0.1, 0.5, 1.0, 4.0])),
        st.tuples(st.just("withdraw"), st.integers(0, 30)),
        st.tuples(st.just("doomed"), st.none()),
        st.tuples(st.just("take"), st.booleans()),
        st.tuples(st.just("take"), st.just(False)),
    ),
    max_size=60,
)


@settings(max_examples=250)
@given(
    actions,
    st.integers(1, 5),
    st.sampled_from([UNKNOWN_COSTS, known(0.2), known(1.0)]),
)
def test_it_decides_as_the_pure_function_does_on_all_tickets(todo, max_batch, costs):
    rules = BatchRules(max_batch=max_batch, max_delay_s=1.0, patience_s=3.0)
    line, reference, now_s = WaitingLine(rules), Reference(rules), 0.0
    for order, (action, value) in enumerate(todo):
        if action == "put":
            left_s = value["left_s"]
            fields = {k: v for k, v in value.items() if k != "left_s"}
            new = ticket(order, queued_s=now_s, deadline_s=now_s + left_s, **fields)
            line.put(new)
            reference.put(new)
        elif action == "pass":
            now_s += value
        elif action == "withdraw":
            for gone in [t for t in reference.waiting if t.order == value]:
                line.withdraw(gone)
                line.withdraw(gone)
                reference.withdraw(gone)
        elif action == "doomed":
            gone = {t.order for t in line.take_doomed(now_s, costs)}
            assert gone == {t.order for t in reference.take_doomed(now_s, costs)}
        else:
            found = line.take(now_s, costs, draining=value)
            assert found == reference.take(now_s, costs, value)
        assert len(line) == len(reference.waiting)
        assert line.served == reference.served


def test_devices_take_turns_from_batch_to_batch():
    line = WaitingLine(BatchRules(max_batch=1, max_delay_s=0.0))
    for order, device in enumerate("aaabbc"):
        line.put(ticket(order, device=device))
    taken = [line.take(0.0).tickets[0].device for _ in range(6)]
    assert taken == list("abcaba")


def test_what_expires_unseen_is_still_told_of():
    line = WaitingLine(BatchRules(max_batch=1, max_delay_s=0.0))
    late = ticket(0, deadline_s=1.0)
    line.put(late)
    assert line.take(2.0) == Idle()
    assert len(line) == 1
    assert line.take_doomed(2.0) == [late]
    assert len(line) == 0
    assert line.take_doomed(2.0) == []


def test_a_withdrawn_frame_that_had_expired_is_not_told_of():
    line = WaitingLine(BatchRules(max_batch=1, max_delay_s=0.0))
    late = ticket(0, deadline_s=1.0)
    line.put(late)
    line.take(2.0)
    line.withdraw(late)
    assert line.take_doomed(2.0) == []
    assert line.served == {}


@pytest.mark.parametrize("left_s", [math.inf, 5.0])
def test_a_decision_does_not_look_at_all_that_waits(left_s, monkeypatch):
    """Ranks and deadlines are read for a batch and its rivals, not for thousands."""
    looked = []
    rules = BatchRules(max_batch=4, max_delay_s=0.0)
    line = WaitingLine(rules)
    for order in range(4000):
        device = f"{order % 500}"
        line.put(ticket(order, device=device, deadline_s=left_s, queued_s=order * 1e-6))

    class Watched(dict):
        def get(self, device, default=None):
            looked.append(device)
            return super().get(device, default)

    line.take(0.5)
    line._served.by_device = Watched(line._served.by_device)
    for _ in range(100):
        assert len(line.take(0.5).tickets) == 4
    assert len(looked) < 100 * 30
