"""Outcomes as one figure: goodput against load, latency, who was served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from spinert.runtime.report.plotting import COLOURS, INK, PLOT_STYLE
from spinert.simulator.outcome import Outcome

__all__ = ["save_figure"]

_Series = Mapping[tuple[int, bool], Sequence[Outcome]]
_DRAWN: Final = {True: "-", False: (0, (3, 2))}


def save_figure(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw runs that differ in load, accelerators and prediction.

    Dashed: without prediction. The latency is that at the highest load.
    """
    series = _series(outcomes)
    with mpl.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(11.4, 3.7), layout="constrained")
        goodput, latency, kept = figure.subplots(1, 3)
        _draw_goodput(goodput, series)
        _draw_latency(latency, series)
        _draw_kept(kept, series)
        handles, labels = goodput.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=160, metadata=metadata, transparent=True)


def _series(outcomes: Sequence[Outcome]) -> _Series:
    found: dict[tuple[int, bool], list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda o: o.scenario.load):
        scenario = outcome.scenario
        key = scenario.accelerators, scenario.has_prediction
        found.setdefault(key, []).append(outcome)
    return found


def _draw_goodput(axes: Axes, series: _Series) -> None:
    for key, runs in series.items():
        loads = [run.scenario.load for run in runs]
        values = [run.goodput_per_s / run.capacity_per_s for run in runs]
        axes.plot(
            loads, values, label=_label(key), marker="o", ms=3, **_line(key, series)
        )
    _load_axis(axes, series)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(ylim=(0, 1.08), ylabel="answered in time, of capacity")
    axes.set_title("Goodput under load", fontsize=10.5)


def _draw_latency(axes: Axes, series: _Series) -> None:
    deadlines: set[float] = set()
    for key, runs in series.items():
        last = runs[-1]
        deadlines |= set(last.scenario.deadlines_s)
        if last.latency_curve_ms:
            share = np.linspace(0, 1, len(last.latency_curve_ms))
            axes.plot(last.latency_curve_ms, share, **_line(key, series))
    for deadline_s in deadlines:
        axes.axvline(1000 * deadline_s, color=INK, linewidth=1, linestyle=":")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(ylim=(0, 1.02), xlim=(0, None), xlabel="ms from arrival to answer")
    load = max(run.scenario.load for runs in series.values() for run in runs)
    axes.set_title(f"Answers at {load:g} times the capacity", fontsize=10.5)


def _draw_kept(axes: Axes, series: _Series) -> None:
    has_greedy = any(r.others_served is not None for rs in series.values() for r in rs)
    for key, runs in series.items():
        loads = [run.scenario.load for run in runs]
        if has_greedy:
            values = [run.others_served or 0.0 for run in runs]
        else:
            values = [_late_share(run) for run in runs]
        axes.plot(loads, values, marker="o", ms=3, **_line(key, series))
        if has_greedy:
            greedy = [run.greedy_served or 0.0 for run in runs]
            axes.plot(
                loads, greedy, marker="x", ms=4, **_line(key, series) | {"lw": 0.8}
            )
    _load_axis(axes, series)
    axes.set(ylim=(0, 1.08))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    title = "Served: a flood (x), all others (dots)"
    axes.set_title(title if has_greedy else "Let in, and too late", fontsize=10.5)


def _late_share(run: Outcome) -> float:
    accepted_per_s = run.goodput_per_s + run.late_per_s
    return run.late_per_s / accepted_per_s if accepted_per_s else 0.0


def _load_axis(axes: Axes, series: _Series) -> None:
    loads = sorted({run.scenario.load for runs in series.values() for run in runs})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_ticks(loads)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{load:g}" for load in _ticks(loads)])
    axes.set_xlabel("offered load, of capacity")


def _ticks(loads: Sequence[float]) -> Sequence[float]:
    """Return the loads that have room for their label on a log axis."""
    kept: list[float] = []
    for load in reversed(loads):
        if not kept or kept[-1] / load > 1.4:
            kept.append(load)
    return kept[::-1]


def _label(key: tuple[int, bool]) -> str:
    count, has_prediction = key
    noun = "accelerator" if count == 1 else "accelerators"
    return f"{count} {noun}{'' if has_prediction else ', no prediction'}"


def _line(key: tuple[int, bool], series: _Series) -> dict[str, Any]:
    counts = sorted({count for count, _ in series})
    colour = COLOURS[counts.index(key[0]) % len(COLOURS)]
    return {"color": colour, "linestyle": _DRAWN[key[1]], "lw": 1.6}
