"""Outcomes as JSON and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from spinert.simulator.outcome import Outcome

__all__ = ["json_from_outcomes", "table_from_outcomes"]

_COLUMNS = (
    "accelerators",
    "load",
    "prediction",
    "goodput",
    "too late",
    "p50 ms",
    "p99 ms",
    "p99 / deadline",
    "batch",
    "fairness",
    "released by",
)


def json_from_outcomes(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return every figure of every run."""
    return {"format": 1, "runs": [asdict(outcome) for outcome in outcomes]}


def table_from_outcomes(outcomes: Sequence[Outcome]) -> Table:
    """Return the figures that matter, a row for each run."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == "released by" else "right")
    for outcome in outcomes:
        table.add_row(*_cells(outcome))
    return table


def _cells(outcome: Outcome) -> list[str]:
    scenario = outcome.scenario
    accepted_per_s = outcome.goodput_per_s + outcome.late_per_s
    late = outcome.late_per_s / accepted_per_s if accepted_per_s else 0.0
    latency = outcome.latency_ms
    used = outcome.deadline_p99
    return [
        str(scenario.accelerators),
        f"{scenario.load:g}",
        "yes" if scenario.has_prediction else "no",
        f"{outcome.goodput_per_s / outcome.capacity_per_s:.0%}",
        f"{late:.1%}",
        f"{latency['p50']:.0f}" if latency else "-",
        f"{latency['p99']:.0f}" if latency else "-",
        "-" if used is None else "over 1" if used > 1 else f"{used:.2f}",
        f"{outcome.mean_batch:.1f}",
        f"{outcome.fairness:.2f}",
        _reasons(outcome),
    ]


def _reasons(outcome: Outcome) -> str:
    total = sum(outcome.reasons.values())
    ordered = sorted(outcome.reasons.items(), key=lambda item: -item[1])
    return ", ".join(f"{n / total:.0%} {name.lower()}" for name, n in ordered)
