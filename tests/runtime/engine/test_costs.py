from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinert.runtime.engine.costs import UNKNOWN_COSTS, Cost, CostModel, Costs

SMALL, LARGE = (32, 32), (640, 640)


def costs(curves):
    return Costs(
        measured={
            size: tuple((n, Cost(typical_s=s, late_s=2 * s)) for n, s in curve.items())
            for size, curve in curves.items()
        }
    )


def learned(*runs, size=SMALL, model=None):
    """Return a model that saw batches of (frames, seconds), one after the other."""
    model = model or CostModel()
    end_s = 0.0
    for batch, seconds in runs:
        model.observe(size, batch, start_s=end_s, end_s=end_s + seconds)
        end_s += seconds
    return model


def test_nothing_is_known_of_a_size_that_never_ran():
    assert UNKNOWN_COSTS.of(SMALL, 1) is None
    assert costs({SMALL: {1: 1.0}}).of(LARGE, 1) is None
    assert CostModel().costs == UNKNOWN_COSTS


def test_between_measured_batches_the_cost_is_linear():
    known = costs({SMALL: {1: 1.0, 4: 2.5}})
    assert known.of(SMALL, 1) == Cost(typical_s=1.0, late_s=2.0)
    assert known.of(SMALL, 2).typical_s == pytest.approx(1.5)
    assert known.of(SMALL, 3).late_s == pytest.approx(4.0)
    assert known.of(SMALL, 4) == Cost(typical_s=2.5, late_s=5.0)


def test_beyond_the_largest_batch_a_frame_costs_its_share():
    known = costs({SMALL: {2: 1.0, 4: 1.5}})
    assert known.of(SMALL, 8) == Cost(typical_s=3.0, late_s=6.0)


def test_below_the_smallest_batch_the_cost_is_bounded_on_both_sides():
    assert costs({SMALL: {4: 2.0}}).of(SMALL, 1) == Cost(typical_s=0.5, late_s=4.0)


@given(
    st.dictionaries(st.integers(1, 16), st.floats(1e-3, 10), min_size=1),
    st.integers(1, 32),
)
def test_a_cost_is_never_below_the_least_nor_typically_above_the_late(curve, batch):
    cost = costs({SMALL: dict(sorted(curve.items()))}).of(SMALL, batch)
    assert 0 < cost.typical_s <= cost.late_s


def test_one_run_that_was_held_up_changes_nothing():
    calm = learned(*[(2, 0.125)] * 9)
    held_up = learned(*[(2, 0.125)] * 4, (2, 5.0), *[(2, 0.125)] * 4)
    assert held_up.costs.measured == calm.costs.measured
    assert held_up.costs.pace_s < 1.2 * calm.costs.pace_s


def test_five_runs_are_enough_to_follow_a_change():
    model = learned(*[(1, 0.1)] * 20, *[(1, 0.3)] * 4)
    assert model.costs.of(SMALL, 1).typical_s == pytest.approx(0.1)
    assert model.costs.of(SMALL, 1).late_s == pytest.approx(0.3)
    learned((1, 0.3), model=model)
    assert model.costs.of(SMALL, 1).typical_s == pytest.approx(0.3)


def test_few_runs_are_as_late_as_the_latest():
    model = learned((1, 0.1), (1, 0.1), (1, 0.3))
    assert model.costs.of(SMALL, 1).late_s == pytest.approx(0.3)


@pytest.mark.parametrize("others", range(1, 9))
def test_one_of_few_runs_that_was_held_up_changes_nothing(others):
    """Else a batch that is rarely run would be thought dear, and not be run again."""
    for place in range(others + 1):
        runs = [(4, 0.1)] * others
        runs.insert(place, (4, 2.0))
        found = learned((1, 0.1), *runs).costs.of(SMALL, 4)
        assert (found.typical_s, found.late_s) == pytest.approx((0.1, 0.1))


def test_one_run_alone_does_not_make_company_dear():
    model = learned((1, 0.1), (2, 0.15), (4, 2.0))
    assert model.costs.of(SMALL, 4).late_s == pytest.approx(0.3)
    learned((4, 2.0), (4, 2.0), model=model)
    assert model.costs.of(SMALL, 4).late_s == pytest.approx(2.0)
    cheap = learned((1, 0.1), (4, 0.2))
    assert cheap.costs.of(SMALL, 4).late_s == pytest.approx(0.2)


def test_the_pace_is_the_time_per_frame():
    model = learned(*[(4, 0.2)] * 5)
    assert model.costs.pace_s == pytest.approx(0.05)
    assert model.costs.checked_s == pytest.approx(1.0)


def test_small_batches_weigh_little_in_the_pace():
    model = learned((8, 0.8), (1, 0.2))
    assert model.costs.pace_s == pytest.approx(1.0 / 9)


def test_the_usual_size_is_that_of_most_recent_batches():
    model = learned(*[(1, 0.1)] * 5, (1, 0.1))
    assert model.costs.usual == SMALL
    learned((1, 0.1), (1, 0.1), (1, 0.1), model=model, size=LARGE)
    assert model.costs.usual == SMALL
    learned(*[(1, 0.1)] * 2, model=model, size=LARGE)
    assert model.costs.usual == LARGE


def test_two_batches_at_once_share_the_time():
    """The second waits on the accelerator until the first has been run."""
    model = CostModel()
    for number in range(9):
        start_s = number * 1.0
        model.observe(SMALL, 1, start_s=start_s, end_s=start_s + 2.0)
    assert model.costs.pace_s == pytest.approx(1.0, abs=0.2)
    assert model.costs.of(SMALL, 1).typical_s == pytest.approx(1.0)


def test_of_each_size_it_is_known_how_sure_it_is():
    model = learned((1, 1.5), (4, 0.08), (4, 0.08))
    found = model.costs.proofs[SMALL]
    assert found.least_s == pytest.approx(0.08)
    assert (found.runs, found.checked_s) == (3, pytest.approx(1.66))
    learned((1, 0.02), size=LARGE, model=model)
    assert model.costs.proofs[SMALL] == found, "another size tells nothing of it"
    assert model.costs.proofs[LARGE].runs == 1


def test_a_batch_that_ends_before_one_that_began_earlier_takes_no_negative_time():
    model = CostModel()
    model.observe(SMALL, 1, start_s=0.0, end_s=10.0)
    model.observe(SMALL, 1, start_s=5.0, end_s=6.0)
    assert model.costs.pace_s >= 0
    assert model.costs.checked_s == 10.0


def test_another_backend_makes_what_was_learned_void():
    model = CostModel()
    model.observe(SMALL, 1, start_s=0.0, end_s=5.0, origin="slow")
    model.observe(LARGE, 1, start_s=5.0, end_s=6.0, origin="fast")
    assert model.costs.of(SMALL, 1) is None
    assert model.costs.pace_s == pytest.approx(1.0, abs=0.2)


def test_a_clock_that_stands_still_teaches_nothing():
    model = CostModel()
    model.observe(SMALL, 1, start_s=1.0, end_s=1.0)
    assert model.costs == UNKNOWN_COSTS


def test_ever_new_sizes_take_no_more_memory():
    model = CostModel()
    for number in range(1000):
        model.observe((number, 1), 1, start_s=number, end_s=number + 0.5)
    assert len(model.costs.measured) == 256
    assert model.costs.of((999, 1), 1)
    assert model.costs.of((0, 1), 1) is None
    assert len(model._runs) == 256


def test_what_was_asked_for_does_not_change_while_it_is_looked_at():
    model = learned((1, 0.1))
    before = model.costs
    learned((1, 0.5), (2, 0.5), model=model, size=LARGE)
    assert set(before.measured) == {SMALL}


def test_many_threads_may_teach_it():
    model = CostModel()

    def teach(batch):
        for number in range(200):
            model.observe(SMALL, batch, start_s=number, end_s=number + 0.25)

    threads = [threading.Thread(target=teach, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    curve = dict(model.costs.measured[SMALL])
    assert {n: c.typical_s for n, c in curve.items()} == dict.fromkeys(
        range(1, 5), 0.25
    )
