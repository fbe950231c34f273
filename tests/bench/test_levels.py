"""Levels in turn: a server that answers at once, and a pipeline that does, too."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from support.fronts import ScriptedEngine, front_in_a_thread

from spinert.bench import levels
from spinert.bench.energy import EnergyMeter
from spinert.bench.frames import RAW, FramePlan, frames_from_plan
from spinert.bench.levels import LevelPlan, measured_levels
from spinert.bench.outcomes import Outcome

PLAN = LevelPlan(rounds=3, frames=2, saturated_frames=4, depth=2)


class InstantNetworks:
    """Take a millisecond, and no time."""

    def inputs(self, frame):
        return {}

    def run_s(self, inputs):
        return 0.001


class InstantPipeline:
    """Notes how many frames the server had answered when its turn came."""

    def __init__(self, served) -> None:
        self.networks = InstantNetworks()
        self.turns = []
        self._served = served

    def closed_loop(self, frames, *, count, depth):
        if depth == PLAN.depth:
            self.turns.append(len(self._served))
        return [
            Outcome(frame=0, due_s=number, sent_s=number, ended_s=number + 0.002)
            for number in range(count)
        ]


@pytest.fixture(scope="module")
def frame():
    plan = FramePlan(syntaxes=(RAW,), long_edges_px=(256,))
    return frames_from_plan(plan)[0]


def test_levels_change_their_order_from_round_to_round(frame):
    engine = ScriptedEngine()
    with front_in_a_thread(engine) as front:
        pipeline = InstantPipeline(engine.requests)
        found = measured_levels(pipeline, front.address, frame, PLAN)
    # Two frames warm the server up; each round sends it two and four.
    assert pipeline.turns == [2, 2 + 12, 2 + 12]
    assert [len(part) for part in found.seconds["server"]] == [2, 2, 2]
    assert found.is_complete


def test_a_p99_of_few_frames_is_not_told(frame):
    engine = ScriptedEngine()
    with front_in_a_thread(engine) as front:
        pipeline = InstantPipeline(engine.requests)
        ratios = measured_levels(pipeline, front.address, frame, PLAN).told()["ratios"]
    assert "server_over_pipeline_throughput" in ratios
    assert "server_p99_over_p50" not in ratios


def test_energy_is_shared_by_all_that_used_it(frame, monkeypatch):
    @contextmanager
    def ninety_joules():
        yield EnergyMeter(is_present=True, joules=90.0, seconds=1.0)

    monkeypatch.setattr(levels, "energy_meter", ninety_joules)
    engine = ScriptedEngine()
    with front_in_a_thread(engine) as front:
        pipeline = InstantPipeline(engine.requests)
        found = measured_levels(pipeline, front.address, frame, PLAN)
    # In each of three rounds: 2 by the networks alone, 6 by pipeline and server each.
    assert found.energy["frames"] == 3 * (2 + 6 + 6)
