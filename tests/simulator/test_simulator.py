"""The scheduler on a virtual clock: deterministic, so that figures can be asserted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from spinert.commands.simulate import simulate
from spinert.simulator.arrivals import traffic_from_scenario
from spinert.simulator.errors import ScenarioError
from spinert.simulator.outcome import jain
from spinert.simulator.routing import first_free
from spinert.simulator.scenario import Arrivals, Network, Scenario, capacity_per_s
from spinert.simulator.world import simulated

FLAT = Network(fixed_s=0.0, frame_s=0.02, spread=0.05)
"""A CPU: company gains nothing."""
USUAL = Scenario(duration_s=2.0)


def goodput(outcome):
    return outcome.goodput_per_s / outcome.capacity_per_s


def lateness(outcome):
    return outcome.late_per_s / (outcome.goodput_per_s + outcome.late_per_s)


@pytest.fixture(scope="module")
def overloaded():
    return simulated(replace(USUAL, load=10.0))


def test_every_counted_frame_ends_in_one_way(overloaded):
    counted_s = 0.9 * USUAL.duration_s
    ended = overloaded.goodput_per_s + overloaded.late_per_s
    ended += sum(overloaded.refused.values()) / counted_s
    assert ended == pytest.approx(overloaded.offered_per_s)


def test_the_same_seed_gives_the_same_figures(overloaded):
    assert simulated(replace(USUAL, load=10.0)) == overloaded
    assert simulated(replace(USUAL, load=10.0, seed=1)) != overloaded


def test_with_room_to_spare_every_frame_is_in_time():
    outcome = simulated(replace(USUAL, load=0.5))
    assert outcome.refused == {}
    assert outcome.late_per_s == 0
    assert outcome.deadline_p99 < 0.5
    assert outcome.fairness == pytest.approx(1.0)


def test_tenfold_load_leaves_nine_tenths_of_the_best_goodput():
    usual = replace(USUAL, deadlines_s=(0.1,), stat_share=0.0)
    best = max(goodput(simulated(replace(usual, load=load))) for load in (1.0, 2.0))
    worst = simulated(replace(usual, load=10.0))
    assert goodput(worst) >= 0.9 * best
    assert lateness(worst) < 0.02


def test_without_prediction_overload_costs_most_of_the_goodput(overloaded):
    blind = simulated(replace(USUAL, load=10.0, has_prediction=False))
    assert goodput(blind) < 0.5 * goodput(overloaded)
    assert lateness(blind) > 0.5


def test_excess_is_refused_for_the_deadline_or_the_share(overloaded):
    assert set(overloaded.refused) <= {"DEADLINE_UNREACHABLE", "DEVICE_QUOTA"}
    assert overloaded.refused["DEADLINE_UNREACHABLE"] > 0


def test_deadlines_of_several_lengths_are_all_kept():
    mixed = replace(USUAL, load=3.0, deadlines_s=(0.05, 0.2, 1.0), stat_share=0.0)
    outcome = simulated(mixed)
    assert goodput(outcome) > 0.9
    assert lateness(outcome) < 0.01


def test_eight_accelerators_serve_eight_times_as_much():
    one = simulated(replace(USUAL, load=2.0, duration_s=1.5))
    eight = simulated(replace(USUAL, load=2.0, duration_s=1.5, accelerators=8))
    assert eight.goodput_per_s == pytest.approx(8 * one.goodput_per_s, rel=0.1)


def test_thousands_of_devices_share_alike():
    many = replace(USUAL, devices=10_000, load=2.0, accelerators=8, duration_s=1.0)
    outcome = simulated(many)
    assert goodput(outcome) > 0.85
    assert lateness(outcome) < 0.02


def test_a_device_that_floods_does_not_take_the_places_of_others():
    flood = replace(USUAL, load=2.0, greedy_share=0.6, devices=20, stat_share=0.0)
    outcome = simulated(flood)
    assert outcome.others_served > 0.75
    assert outcome.greedy_served < 0.5 * outcome.others_served
    assert goodput(outcome) > 0.9


def test_where_batches_gain_nothing_no_frame_waits_for_one():
    slow = replace(USUAL, network=FLAT, max_batch=4, max_delay_s=0.5, load=0.3)
    outcome = simulated(replace(slow, deadlines_s=(), stat_share=0.0))
    assert set(outcome.reasons) <= {"NO_GAIN", "FULL"}
    assert outcome.latency_ms["p50"] < 30


def test_a_long_delay_ends_where_the_deadline_needs_it():
    patient = replace(USUAL, max_delay_s=5.0, load=0.1, deadlines_s=(0.2,))
    outcome = simulated(replace(patient, stat_share=0.0, max_batch=64))
    assert outcome.reasons["DEADLINE"] > 0
    assert lateness(outcome) < 0.01


def test_frames_without_deadlines_wait_in_a_bounded_queue():
    outcome = simulated(replace(USUAL, load=3.0, deadlines_s=(), max_frames=64))
    assert set(outcome.refused) <= {"QUEUE_FULL", "DEVICE_QUOTA"}
    assert outcome.deadline_p99 is None
    assert goodput(outcome) > 0.9


def lost_s(scenario):
    """Return for how long the goodput of `scenario` is missing, and who was late."""
    calm = simulated(replace(scenario, stall_s=0.0))
    held_up = simulated(scenario)
    counted_s = 0.9 * scenario.duration_s
    missing = 1 - held_up.goodput_per_s / calm.goodput_per_s
    return missing * counted_s, (held_up.late_per_s - calm.late_per_s) * counted_s


def test_a_stall_costs_little_more_than_the_time_it_takes():
    stalled = Scenario(load=0.6, duration_s=4.0, deadlines_s=(0.1,), stall_s=1.0)
    missing_s, late = lost_s(stalled)
    assert missing_s < 1.2
    arriving_per_s = stalled.load * capacity_per_s(stalled)
    assert late < 2 * 0.1 * arriving_per_s, "later ones are refused"


def test_no_frame_waits_for_company_that_is_not_known_to_gain():
    """The warm-up has no time to run a batch of two."""
    slow = Network(fixed_s=0.0, frame_s=0.3, spread=0.05)
    rare = Scenario(network=slow, max_batch=4, max_delay_s=0.5, load=0.2)
    outcome = simulated(replace(rare, duration_s=60.0, deadlines_s=(), stat_share=0.0))
    assert set(outcome.reasons) <= {"NO_GAIN", "FULL"}
    assert outcome.latency_ms["p50"] < 360


def test_what_gathers_while_a_network_runs_shows_what_company_is_worth():
    slow = Network(fixed_s=0.25, frame_s=0.05, spread=0.05)
    busy = Scenario(network=slow, max_batch=4, load=1.5, duration_s=30.0)
    outcome = simulated(replace(busy, deadlines_s=(), stat_share=0.0, max_frames=16))
    assert outcome.mean_batch > 3
    assert goodput(outcome) > 0.9


# ------------------------------------------------------------------ preparing

ONE_NETWORK = Network(fixed_s=0.0, frame_s=0.001, spread=0.02)


def test_a_worker_that_is_free_again_refuses_nobody():
    """Eight frames a second, two workers that take 100 ms, 200 ms to live."""
    rare = Scenario(
        arrivals=Arrivals.PERIODIC,
        devices=1,
        load=8 / capacity_per_s(Scenario(network=ONE_NETWORK, max_batch=1)),
        network=ONE_NETWORK,
        max_batch=1,
        max_delay_s=0.0,
        prepare_s=0.1,
        deadlines_s=(0.2,),
        stat_share=0.0,
        duration_s=20.0,
    )
    outcome = simulated(rare)
    assert outcome.refused == {}
    assert outcome.late_per_s == 0
    assert outcome.latency_ms["max"] < 125


@pytest.mark.parametrize("load", [1.0, 3.0])
def test_where_preparing_is_slower_it_sets_the_pace(load):
    """Two workers of 10 ms prepare 200 frames a second, a third of what is offered."""
    slow = replace(USUAL, prepare_s=0.01, load=load, deadlines_s=(0.2,), stat_share=0.0)
    outcome = simulated(slow)
    assert outcome.goodput_per_s == pytest.approx(200, rel=0.1)
    assert lateness(outcome) < 0.02
    assert set(outcome.refused) <= {"DEADLINE_UNREACHABLE", "DEVICE_QUOTA"}


def test_where_preparing_is_fast_it_costs_its_own_time_only():
    at_once = simulated(replace(USUAL, load=0.5))
    prepared = simulated(replace(USUAL, load=0.5, prepare_s=0.002))
    assert prepared.refused == {}
    later_ms = prepared.latency_ms["p50"] - at_once.latency_ms["p50"]
    assert later_ms == pytest.approx(2, abs=1)


# ---------------------------------------------------------------------- parts


def test_the_index_of_jain():
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain([0.0, 0.0]) == 1.0


def test_the_capacity_is_that_of_full_batches():
    network = Network(fixed_s=0.004, frame_s=0.001)
    lone = Scenario(network=network, max_batch=1, accelerators=1)
    assert capacity_per_s(replace(lone, accelerators=4)) == 4 * capacity_per_s(lone)
    assert capacity_per_s(replace(lone, max_batch=8)) > 3 * capacity_per_s(lone)


def test_a_frame_goes_where_it_is_served_first():
    assert first_free([5.0, 3.0, 4.0], 1.0) == 1


def test_of_free_accelerators_the_one_that_rested_longest_takes_it():
    assert first_free([0.5, 0.2, 4.0, 0.9], 1.0) == 1


@pytest.mark.parametrize("arrivals", Arrivals)
def test_traffic_is_in_order_and_of_the_load(arrivals):
    scenario = replace(USUAL, arrivals=arrivals, load=2.0, devices=50)
    traffic = traffic_from_scenario(scenario, np.random.default_rng(0))
    assert (np.diff(traffic.at_s) >= 0).all()
    assert traffic.at_s[0] >= 0
    assert traffic.at_s[-1] <= scenario.duration_s
    expected = 2.0 * capacity_per_s(scenario) * scenario.duration_s
    assert len(traffic.at_s) == pytest.approx(expected, abs=1)
    assert set(traffic.device.tolist()) == set(range(50))


def test_a_periodic_device_sends_at_equal_intervals():
    scenario = replace(USUAL, arrivals=Arrivals.PERIODIC, devices=7)
    traffic = traffic_from_scenario(scenario, np.random.default_rng(0))
    steps = np.diff(traffic.at_s[traffic.device == 3])
    assert np.ptp(steps) < 1e-9


@pytest.mark.parametrize(
    "wrong",
    [
        {"accelerators": 0},
        {"devices": 0},
        {"load": 0},
        {"duration_s": 0},
        {"deadlines_s": (0.0,)},
        {"stat_share": 1.5},
        {"greedy_share": 1.0},
        {"max_batch": 0},
        {"prepare_s": -1},
        {"prepare_workers": 0},
        {"max_delay_s": -1},
        {"max_frames": 4},
        {"stall_s": -1},
    ],
)
def test_a_scenario_that_cannot_be_run_is_refused(wrong):
    with pytest.raises(ScenarioError):
        Scenario(**wrong)


# -------------------------------------------------------------------- command


def run(*words):
    return CliRunner().invoke(simulate, ["--duration", "0.3", *words])


def test_the_command_prints_a_row_for_each_combination(tmp_path):
    out = tmp_path / "runs.json"
    words = ["--load", "0.5", "--load", "2", "--prediction", "both", "--json", str(out)]
    result = run("--accelerators", "1", "--accelerators", "2", *words)
    assert result.exit_code == 0, result.output
    runs = json.loads(out.read_text())["runs"]
    assert len(runs) == 8
    found = {(r["scenario"]["accelerators"], r["scenario"]["load"]) for r in runs}
    assert found == {(1, 0.5), (1, 2.0), (2, 0.5), (2, 2.0)}
    assert all(len(r["latency_curve_ms"]) == 101 for r in runs)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
@pytest.mark.parametrize("greedy", ["0", "0.5"])
def test_the_command_draws(tmp_path, suffix, greedy):
    pytest.importorskip("matplotlib")
    plot = tmp_path / f"plot{suffix}"
    words = ["--greedy-share", greedy, "--prediction", "both", "--plot", str(plot)]
    result = run("--load", "0.5", "--load", "2", *words)
    assert result.exit_code == 0, result.output
    assert plot.stat().st_size > 5000


def test_a_plot_of_another_kind_is_refused_before_the_work(tmp_path):
    result = run("--plot", str(tmp_path / "plot.jpg"))
    assert result.exit_code == 2
    assert ".svg" in result.output
