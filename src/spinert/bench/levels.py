"""Three levels of one bundle in one run: networks, pipeline, server.

Levels take turns, round by round, so that neighbours meet the same noise, and change
the order from round to round; what one level takes longer than the one below it is
what it adds.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from spinert.bench.energy import energy_meter
from spinert.bench.figures import Figure, ratios_of
from spinert.bench.frames import LoadFrame
from spinert.bench.latencies import is_told, latency_summary
from spinert.bench.machine import yardstick_ms
from spinert.bench.outcomes import Outcome, answered, throughput_per_s
from spinert.bench.pipeline import Pipeline
from spinert.bench.sending import closed_loop, run_load
from spinert.bench.serving import WatchedServer
from spinert.bench.waterfall import waterfall_of

__all__ = ["LevelPlan", "Levels", "measured_levels"]

_NETWORKS: Final = "networks"
_PIPELINE: Final = "pipeline"
_SERVER: Final = "server"
_LEVELS: Final = (_NETWORKS, _PIPELINE, _SERVER)
_SATURATED: Final = (_PIPELINE, _SERVER)


@dataclass(frozen=True, kw_only=True)
class LevelPlan:
    """How long the levels are measured."""

    rounds: int
    frames: int
    """One at a time, in each round."""
    saturated_frames: int
    """With `depth` in flight, in each round."""
    depth: int


@dataclass(kw_only=True)
class Levels:
    """What was measured, round by round."""

    seconds: dict[str, list[list[float]]] = field(
        default_factory=lambda: {level: [] for level in _LEVELS}
    )
    """By level: latencies of each round, one frame at a time."""
    per_s: dict[str, list[float]] = field(
        default_factory=lambda: {level: [] for level in _SATURATED}
    )
    cpu_ms: list[float] = field(default_factory=list)
    """Of the server's processes for each frame, while saturated."""
    served: list[Outcome] = field(default_factory=list)
    """One at a time, through the server."""
    yardsticks_ms: list[float] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    """All of the pipeline and the server, to count failures."""
    energy: dict[str, Any] | None = None

    def figures(self) -> list[Figure]:
        """Return what two reports are compared by."""
        made = []
        for level in _LEVELS:
            medians = [1000 * statistics.median(s) for s in self.seconds[level] if s]
            made.append(_figure(f"{level}.latency_p50", "ms", medians, lower=True))
        for level in _SATURATED:
            rates = self.per_s[level]
            made.append(_figure(f"{level}.throughput", "1/s", rates, lower=False))
        made.append(_figure("server.cpu_per_frame", "ms", self.cpu_ms, lower=True))
        yardstick = Figure(
            name="machine.yardstick",
            unit="ms",
            values=tuple(self.yardsticks_ms),
            lower_is_better=True,
        )
        return [figure for figure in (*made, yardstick) if figure.values]

    def told(self) -> dict[str, Any]:
        """Return JSON values for a report."""
        one_by_one = {
            level: latency_summary(value for part in rounds for value in part)
            for level, rounds in self.seconds.items()
        }
        return {
            "latency": one_by_one,
            "throughput_per_s": self.per_s,
            "cpu_ms_per_frame": self.cpu_ms,
            "ratios": self._ratios(),
            "waterfall": waterfall_of(answered(self.served)),
            "energy": self.energy,
        }

    def _ratios(self) -> dict[str, Any]:
        told: dict[str, Any] = {}
        if self.is_complete:
            ours, theirs = self.per_s[_SERVER], self.per_s[_PIPELINE]
            told["server_over_pipeline_throughput"] = ratios_of(ours, theirs)
            added = [
                1000 * (statistics.median(mine) - statistics.median(inner))
                for mine, inner in zip(
                    self.seconds[_SERVER], self.seconds[_PIPELINE], strict=True
                )
            ]
            told["added_latency_ms"] = {
                "median": statistics.median(added),
                "min": min(added),
                "max": max(added),
                "rounds": len(added),
            }
        whole = latency_summary(v for part in self.seconds[_SERVER] for v in part)
        if is_told(whole, "p99"):
            told["server_p99_over_p50"] = whole["p99_ms"] / whole["p50_ms"]
        return told

    @property
    def is_complete(self) -> bool:
        """Tell whether every round of pipeline and server has answers."""
        rounds = len(self.yardsticks_ms)
        return rounds > 0 and all(
            len(self.per_s[level]) == rounds
            and len(self.seconds[level]) == rounds
            and all(self.seconds[level])
            and all(self.per_s[level])
            for level in _SATURATED
        )


def measured_levels(
    pipeline: Pipeline | None,
    server: WatchedServer | str,
    frame: LoadFrame,
    plan: LevelPlan,
) -> Levels:
    """Measure all levels on one frame.

    Args:
        pipeline: What the server runs, in this process; None: measure the server alone.
        server: Ours, or the address of another.
        frame: Sent again and again.
        plan: How often.

    Raises:
        SubjectLost: The server does not answer.
    """
    found = Levels()
    frames = [frame]
    if pipeline is not None:
        pipeline.closed_loop(frames, count=2, depth=1)
    run_load(closed_loop(_address(server), frames, count=2, depth=1))
    with energy_meter() as meter:
        for number in range(plan.rounds):
            found.yardsticks_ms.append(yardstick_ms())
            turns = [partial(_round_served, found, server, frames, plan)]
            if pipeline is not None:
                inner = partial(_round_in_process, found, pipeline, frames, plan)
                turns.insert(number % 2, inner)
            for turn in turns:
                turn()
    bare = sum(len(spent) for spent in found.seconds[_NETWORKS])
    found.energy = meter.told(bare + len(answered(found.outcomes)))
    return found


def _round_in_process(
    found: Levels, pipeline: Pipeline, frames: Sequence[LoadFrame], plan: LevelPlan
) -> None:
    inputs = pipeline.networks.inputs(frames[0])
    bare = [pipeline.networks.run_s(inputs) for _ in range(plan.frames)]
    found.seconds[_NETWORKS].append(bare)
    alone = pipeline.closed_loop(frames, count=plan.frames, depth=1)
    found.seconds[_PIPELINE].append([o.latency_s for o in answered(alone)])
    many = pipeline.closed_loop(frames, count=plan.saturated_frames, depth=plan.depth)
    found.per_s[_PIPELINE].append(throughput_per_s(many))
    found.outcomes += [*alone, *many]


def _round_served(
    found: Levels,
    server: WatchedServer | str,
    frames: Sequence[LoadFrame],
    plan: LevelPlan,
) -> None:
    address = _address(server)
    alone = run_load(closed_loop(address, frames, count=plan.frames, depth=1))
    found.seconds[_SERVER].append([o.latency_s for o in answered(alone)])
    found.served += alone
    processes = None if isinstance(server, str) else server.processes
    before_s = processes.cpu_s() if processes else 0.0
    load = closed_loop(address, frames, count=plan.saturated_frames, depth=plan.depth)
    many = run_load(load)
    if processes:
        spent_s = processes.cpu_s() - before_s
        found.cpu_ms.append(1000 * spent_s / plan.saturated_frames)
    found.per_s[_SERVER].append(throughput_per_s(many))
    found.outcomes += [*alone, *many]


def _address(server: WatchedServer | str) -> str:
    return server if isinstance(server, str) else server.address


def _figure(name: str, unit: str, values: Sequence[float], *, lower: bool) -> Figure:
    return Figure(
        name=f"levels.{name}", unit=unit, values=tuple(values), lower_is_better=lower
    )
