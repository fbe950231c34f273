"""Whether company gains: of batches and lone frames that ran side by side."""

from __future__ import annotations

import pytest
from support.batching_policy import next_step
from support.comparisons import compared_from_times

from spinert.runtime.engine.batching import Release
from spinert.runtime.engine.costs import UNKNOWN_COSTS, CostModel, Costs
from spinert.runtime.engine.stages import learn_costs
from spinert.runtime.engine.ticket import BatchRules, Ticket
from spinert.runtime.verdict import ReleaseReason

SMALL, MIDDLE, LARGE = (32, 32), (64, 64), (640, 640)
EVERY_BATCH = (1, 2, 4, 8)


def known(curves):
    """Return costs of which nothing is known but what company is worth."""
    return Costs(compared={s: compared_from_times(c) for s, c in curves.items()})


class Machine:
    """Runs batches one after the other, or with a pause before one."""

    def __init__(self, fixed_s=0.0, frame_s=0.1):
        self.model = CostModel()
        self.fixed_s, self.frame_s = fixed_s, frame_s
        self.load = self.first = 1.0
        self.now_s = 0.0

    def run(self, *batches, size=SMALL, origin=None):
        for batch in batches:
            start_s = self.now_s
            took_s = self.fixed_s + batch * self.frame_s
            self.now_s += self.load * self.first * took_s
            self.first = 1.0
            self.model.observe(
                size, batch, start_s=start_s, end_s=self.now_s, origin=origin
            )
        return self

    def gains(self, batch=1, size=SMALL):
        return self.model.costs.gains(size, batch)


def test_a_load_that_came_after_the_warm_up_does_not_look_like_a_gain():
    """Alone both networks were quick; together each is slower, also in company."""
    machine = Machine().run(*EVERY_BATCH * 3)
    assert machine.gains() is False
    machine.load = 1.6
    machine.run(*[1] * 50)
    assert machine.model.costs.of(SMALL, 1).typical_s == pytest.approx(0.16)
    assert machine.gains() is False
    machine.run(2)
    assert machine.gains() is False
    lone = Ticket(order=0, size=SMALL, queued_s=machine.now_s)
    rules = BatchRules(max_batch=8, max_delay_s=0.5)
    step = next_step([lone], machine.now_s, rules, costs=machine.model.costs)
    assert step == Release(tickets=(lone,), reason=ReleaseReason.NO_GAIN)


def test_a_load_that_ended_does_not_hide_a_gain():
    machine = Machine(fixed_s=0.02, frame_s=0.01)
    machine.load = 10.0
    machine.run(*EVERY_BATCH * 3)
    machine.load = 1.0
    machine.run(*[1] * 50)
    assert machine.gains() is True


def test_full_batches_of_a_busy_hour_are_not_held_to_a_frame_of_the_warm_up():
    machine = Machine(fixed_s=0.02, frame_s=0.01).run(*EVERY_BATCH * 3)
    machine.load = 5.0
    machine.run(*[8] * 50)
    assert machine.gains() is True


def test_what_company_gains_is_learned_from_frames_as_they_come():
    machine = Machine().run(*EVERY_BATCH * 3)
    machine.fixed_s, machine.frame_s = 0.09, 0.01
    machine.run(*[1, 2] * 7)
    assert machine.gains() is False, "seven comparisons of fifteen are not the most"
    machine.run(1, 2)
    assert machine.gains() is True


def test_one_comparison_that_was_held_up_changes_nothing():
    machine = Machine().run(*EVERY_BATCH * 3)
    machine.load = 3.0
    machine.run(1)
    machine.load = 1.0
    machine.run(2)
    assert machine.gains() is False


def test_the_long_frame_that_company_gathered_behind_is_not_the_measure():
    machine = Machine().run(*[1] * 5)
    machine.load = 2.0
    machine.run(1)
    machine.load = 1.0
    machine.run(2)
    assert machine.gains() is False


def test_the_first_run_of_all_does_not_make_the_next_look_cheap():
    machine = Machine()
    machine.first = 2.0
    learn_costs(machine.run, 2, 0.55, lambda: machine.now_s)
    assert machine.model.costs.compared[SMALL].shares == (1.0, pytest.approx(1.0))
    assert machine.gains() is False


@pytest.mark.parametrize(("pause_s", "is_compared"), [(0.9, True), (1.1, False)])
def test_only_neighbours_are_compared(pause_s, is_compared):
    machine = Machine().run(1)
    machine.now_s += pause_s
    machine.run(2)
    assert (machine.gains() is not None) is is_compared


def test_what_overlaps_with_a_lone_frame_is_not_compared_with_it():
    machine = Machine().run(1)
    machine.now_s -= 0.05
    assert machine.run(2).gains() is None


def test_frames_of_another_size_are_no_measure():
    machine = Machine().run(1).run(2, 4, size=LARGE)
    assert machine.gains() is machine.gains(size=LARGE) is None


def test_another_backend_is_compared_anew():
    machine = Machine().run(*EVERY_BATCH, origin="slow")
    machine.run(1, origin="fast").run(2, origin="slow")
    assert machine.gains() is None


def test_ever_new_sizes_take_no_more_memory():
    machine = Machine()
    for number in range(1, 600):
        machine.run(1, 2, size=(number, 1))
    assert len(machine.model.costs.compared) == 256
    learner = machine.model._neighbours
    assert len(learner._alone) == len(learner._shares) == 256
    assert machine.gains(size=(599, 1)) is False


def test_what_was_asked_for_does_not_change_while_it_is_looked_at():
    machine = Machine().run(1, 2)
    before = machine.model.costs
    machine.run(1, 4).run(1, 2, size=LARGE)
    assert set(before.compared) == {SMALL}
    assert before.compared[SMALL].batches == (1, 2)


# ------------------------------------------------------------------ the decision


@pytest.mark.parametrize(
    ("curve", "batch", "gains"),
    [
        ({1: 1.0, 4: 2.0}, 1, True),
        ({1: 1.0, 4: 4.0}, 1, False),
        ({1: 1.0, 4: 3.85}, 1, False),
        ({1: 1.0, 4: 3.75}, 1, True),
        ({1: 1.0, 4: 3.75}, 3, False),
        ({1: 1.0, 2: 2.0, 4: 3.0}, 1, True),
        ({1: 1.0, 2: 1.2, 4: 2.4}, 2, False),
        ({1: 1.0, 2: 1.6, 4: 2.0}, 3, True),
        ({1: 1.0, 2: 2.0, 4: 2.0}, 3, True),
        ({1: 1.0, 2: 1.0, 4: 2.0}, 3, False),
        ({1: 1.0, 2: 1.0, 8: 8.0}, 1, True),
        ({1: 1.0, 2: 1.0, 8: 8.0}, 2, False),
        ({1: 1.0}, 1, None),
        ({1: 1.0, 4: 2.0}, 4, None),
        ({1: 1.0, 4: 2.0}, 5, None),
    ],
)
def test_company_gains_where_larger_batches_take_less_per_frame(curve, batch, gains):
    assert known({SMALL: curve}).gains(SMALL, batch) is gains


def test_one_rare_batch_that_went_well_is_luck():
    machine = Machine().run(*EVERY_BATCH * 3)
    for rare in (3, 5, 6, 7):
        machine.load = 1.0
        machine.run(1)
        machine.load = 0.8
        machine.run(rare)
    assert machine.gains() is False
    assert machine.gains(2) is False


def test_a_size_that_ran_only_alone_behaves_like_the_one_nearest_in_area():
    costs = known({SMALL: {1: 1.0, 4: 4.0}, LARGE: {1: 9.0, 4: 12.0}, MIDDLE: {1: 2.0}})
    assert costs.gains(MIDDLE, 1) is False
    assert costs.gains((600, 600), 1) is True
    assert costs.gains(LARGE, 4) is None


def test_before_anything_was_compared_nothing_is_said():
    assert UNKNOWN_COSTS.gains(SMALL, 1) is None
    assert Machine().run(1, 1, 1).gains() is None


@pytest.mark.parametrize("fixed_s", [0.0, 0.06])
def test_between_compared_batches_the_time_of_a_frame_is_linear(fixed_s):
    machine = Machine(fixed_s=fixed_s, frame_s=0.01).run(*EVERY_BATCH)
    assert {machine.gains(batch) for batch in range(1, 8)} == {fixed_s > 0}
