"""The parts of a run, one after the other; each adds to the report what it found."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console

from spinert.bench.accuracy import accuracy_of, tolerances_from_bundle
from spinert.bench.errors import SubjectLost
from spinert.bench.figures import Figure
from spinert.bench.frames import LoadFrame
from spinert.bench.layers import layers_of
from spinert.bench.levels import LevelPlan, measured_levels
from spinert.bench.loadgen import opened_loadgen
from spinert.bench.order import MLPERF, BenchOrder, Part
from spinert.bench.outcomes import answered, failures_of
from spinert.bench.pipeline import Pipeline
from spinert.bench.scaling import (
    Subject,
    batch_scaling,
    core_scaling,
    device_scaling,
)
from spinert.bench.sending import closed_loop, run_load
from spinert.bench.serving import WatchedServer
from spinert.bench.traffic import (
    TrafficPlan,
    capacity_per_s,
    measured_traffic,
    traffic_figures,
)
from spinert.runtime.bundle import LoadedBundle

__all__ = ["MEASURES", "Run", "probe", "subject_from_order"]

_PROBES: Final = 5
_LEAST_ALONE: Final = 10
_MOST_FRAMES: Final = 2000
_LAYER_RUNS: Final = 6
_P99_OVER_P50: Final = 4.0
"""The bound of the Server scenario where none is asked for."""
_SERVER_LOAD: Final = 0.6
"""Share of the capacity at which the Server scenario is held."""


@dataclass(kw_only=True)
class Run:
    """A run under way."""

    order: BenchOrder
    frame: LoadFrame
    """Of the levels."""
    mix: tuple[LoadFrame, ...]
    server: WatchedServer | str
    pipeline: Pipeline | None
    bundle: LoadedBundle | None
    console: Console
    frame_s: float = 0.0
    """Median latency of one device, measured first."""
    capacity_per_s: float = 0.0
    """Of the mix."""
    parts: dict[str, Any] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Return HOST:PORT of what is measured."""
        return self.server if isinstance(self.server, str) else self.server.address

    @property
    def depth(self) -> int:
        """Frames in flight that keep every stage busy, within the server's quotas."""
        return min(4 * self.order.settings.engine.max_batch, 16)

    def frames_in(self, seconds: float, least: int) -> int:
        """Return how many frames take about `seconds`, one after the other."""
        return min(max(least, round(seconds / self.frame_s)), _MOST_FRAMES)

    def say(self, what: str) -> None:
        """Tell what takes the time now."""
        self.console.print(f"measuring: {what}")


def subject_from_order(order: BenchOrder) -> Subject:
    """Return what servers of our own serve.

    Raises:
        ValueError: The order names a server instead.
    """
    if order.bundle is None:
        raise ValueError("give a bundle")
    return Subject(
        bundle=order.bundle,
        config=order.config,
        has_state=bool(order.settings.golden.state_dir),
    )


def probe(run: Run) -> None:
    """Find how long a frame takes: durations become numbers of frames."""
    alone = closed_loop(run.address, [run.frame], count=_PROBES, depth=1)
    found = run_load(alone)
    if not (good := answered(found)):
        reasons = ", ".join(failures_of(found))
        raise SubjectLost(f"the server answers no frame: {reasons}; see its log")
    run.frame_s = statistics.median(outcome.latency_s for outcome in good)


def _levels(run: Run) -> None:
    order = run.order
    run.say(f"levels, {order.rounds} rounds")
    plan = LevelPlan(
        rounds=order.rounds,
        frames=run.frames_in(order.seconds, _LEAST_ALONE),
        saturated_frames=run.frames_in(order.seconds, 2 * run.depth),
        depth=run.depth,
    )
    found = measured_levels(run.pipeline, run.server, run.frame, plan)
    run.parts["levels"] = {
        "frame": run.frame.described(),
        "depth": run.depth,
        **found.told(),
        "failures": failures_of(found.outcomes),
    }
    run.figures += found.figures()


def _find_capacity(run: Run) -> None:
    count = run.frames_in(run.order.seconds, max(2 * run.depth, len(run.mix)))
    rate, found = capacity_per_s(run.address, run.mix, count=count, depth=run.depth)
    if not rate:
        reasons = ", ".join(failures_of(found))
        raise SubjectLost(f"the server answers none of the mix: {reasons}")
    run.capacity_per_s = rate
    run.parts["traffic"] = {
        "capacity_per_s": rate,
        "frames": [frame.described() for frame in run.mix],
        "failures": failures_of(found),
        "loads": [],
    }


def _open_loop(run: Run) -> None:
    order = run.order
    plan = TrafficPlan(
        capacity_per_s=run.capacity_per_s,
        seconds=2 * order.seconds,
        devices=order.devices,
        pattern=order.pattern,
        seed=order.seed,
    )
    run.say(f"open loop, {len(plan.loads())} loads")
    loads = measured_traffic(run.address, run.mix, plan)
    run.parts["traffic"]["loads"] = loads
    run.figures += traffic_figures(loads, run.capacity_per_s)


def _mlperf(run: Run) -> None:
    order = run.order
    bound_ms = order.p99_ms or 1000 * _P99_OVER_P50 * run.frame_s
    told = []
    with opened_loadgen(run.address, run.mix, order.scenario_seconds) as loadgen:
        for part, scenario in MLPERF.items():
            if part not in order.parts:
                continue
            run.say(f"MLPerf {scenario}")
            share = _SERVER_LOAD if part is Part.SERVER else 1.0
            rate = share * run.capacity_per_s
            told.append(
                loadgen.performance(
                    scenario, rate_per_s=rate, latency_bound_ms=bound_ms
                )
            )
    run.parts["mlperf"] = told


def _accuracy(run: Run) -> None:
    if run.pipeline is None or run.bundle is None:
        return
    run.say("accuracy of the answers")
    with opened_loadgen(run.address, run.mix, run.order.seconds) as loadgen:
        answers, failures = loadgen.accuracy()
    expected = run.pipeline.answers(run.mix)
    allowed = tolerances_from_bundle(run.bundle.spec)
    found = accuracy_of(answers, expected, allowed)
    run.parts["accuracy"] = {**found, "failures": failures}


def _layers(run: Run) -> None:
    if run.pipeline is not None:
        run.say("layers")
        networks = run.pipeline.networks
        run.parts["layers"] = layers_of(networks, run.frame, _LAYER_RUNS)


def _scaling(run: Run) -> None:
    if run.pipeline is None:
        return
    run.say("scaling with batch, devices and cores")
    order = run.order
    count = run.frames_in(order.seconds, 2 * run.depth)
    batches = batch_scaling(
        run.pipeline.networks,
        run.frame,
        max_batch=order.settings.engine.max_batch,
        rounds=order.rounds,
    )
    devices = device_scaling(run.address, run.frame, count=count)
    cores = core_scaling(
        subject_from_order(order), run.frame, count=count, depth=run.depth
    )
    run.parts["scaling"] = {"batch": batches, "devices": devices, "cores": cores}


_MIXED: Final = frozenset({Part.OPEN_LOOP, *MLPERF})
MEASURES: Final[tuple[tuple[frozenset[Part], Callable[[Run], None]], ...]] = (
    (frozenset({Part.LEVELS}), _levels),
    (_MIXED, _find_capacity),
    (frozenset({Part.OPEN_LOOP}), _open_loop),
    (frozenset(MLPERF), _mlperf),
    (frozenset({Part.ACCURACY}), _accuracy),
    (frozenset({Part.LAYERS}), _layers),
    (frozenset({Part.SCALING}), _scaling),
)
