"""Plots of a report: latency curves, latency against load, waterfall, scaling."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from spinert.bench.latencies import is_told
from spinert.runtime.report.plotting import (
    COLOURS,
    INK,
    PLOT_STYLE,
    plot_axes,
    svg_from_figure,
)

__all__ = [
    "Bar",
    "Line",
    "bar_plot",
    "latency_plot",
    "line_plot",
    "load_plot",
    "waterfall_plot",
]

_NINES: Final = (0.5, 0.9, 0.99, 0.999)
_TICKS: Final = ("50 %", "90 %", "99 %", "99.9 %")
_STEPS: Final = (1, 2, 5)
_ROUND: Final = (1, 2, 2.5, 5, 10)
_NARROW: Final = 8
"""Largest over smallest value below which 1, 2, 5 would be too few ticks."""
_KEY_INCHES: Final = 0.6
_LETTER_INCHES: Final = 0.08
"""Of a legend: line with its spaces, and a letter."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points joined in order of x."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One horizontal bar."""

    name: str
    value: float
    told: str
    """The value as it stands beside the bar."""
    is_other: bool = False
    """Drawn in grey: it is there to be compared with."""


def latency_plot(
    latencies: Mapping[str, Mapping[str, Any]], width: float = 5.4
) -> bytes:
    """Return cumulative latencies; the axis of shares is stretched towards the tail.

    Args:
        latencies: Of `latency_summary`, by name; those of no frame are left out.
        width: In inches.
    """
    with mpl.rc_context(PLOT_STYLE):
        figure, axes = plot_axes(width=width, height=3.6)
        known = {name: told for name, told in latencies.items() if told["count"]}
        for index, (name, told) in enumerate(known.items()):
            curve = np.asarray(told["curve"])
            # What lies beyond the last but one value is that value.
            curve = curve[curve[:, 1] <= 1 - 1 / (told["count"] + 1)]
            axes.plot(
                curve[:, 0],
                -np.log10(1 - curve[:, 1]),
                label=name,
                color=COLOURS[index % len(COLOURS)],
                linewidth=1.8,
            )
        places = [-math.log10(1 - share) for share in _NINES]
        axes.yaxis.set_major_locator(FixedLocator(places))
        axes.set_yticklabels(_TICKS)
        axes.set_xscale("log")
        _plain_log(axes.xaxis, [axes.dataLim.x0, axes.dataLim.x1] if known else [])
        axes.set(xlabel="latency (ms)", ylabel="frames within it", ylim=(0, None))
        _legend(figure, known)
        return svg_from_figure(figure)


def load_plot(loads: Sequence[Mapping[str, Any]], capacity_per_s: float) -> bytes:
    """Return latency percentiles against what is offered, where frames suffice."""
    with mpl.rc_context(PLOT_STYLE):
        figure, axes = plot_axes(width=5.4, height=3.6)
        drawn = {}
        for index, percentile in enumerate(("p50", "p90", "p99")):
            known = [load for load in loads if is_told(load["latency"], percentile)]
            if not known:
                continue
            drawn[percentile] = [load["latency"][f"{percentile}_ms"] for load in known]
            axes.plot(
                [load["offered_per_s"] for load in known],
                drawn[percentile],
                "o-",
                label=percentile,
                color=COLOURS[index],
                markersize=4,
                linewidth=1.6,
            )
        axes.axvline(capacity_per_s, color=INK, linestyle=":", linewidth=1)
        axes.annotate(
            "capacity",
            (capacity_per_s, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(-3, 0),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8.5,
        )
        axes.set_yscale("log")
        _plain_log(axes.yaxis, [value for each in drawn.values() for value in each])
        axes.set(xlabel="frames offered per second", ylabel="latency (ms)")
        axes.set_xlim(0, 1.05 * capacity_per_s)
        _legend(figure, drawn)
        return svg_from_figure(figure)


def waterfall_plot(waterfall: Mapping[str, Any]) -> bytes:
    """Return when each stage of the median frame ran, seen from the client."""
    # What lies outside of the engine is split evenly: its clock knows no other.
    lead_ms = waterfall["outside_ms"] / 2
    rows = [("client, wire, front", 0.0, lead_ms)]
    rows += [
        (stage["name"], lead_ms + stage["start_ms"], stage["duration_ms"])
        for stage in waterfall["stages"]
    ]
    rows.append(("front, wire, client", waterfall["total_ms"] - lead_ms, lead_ms))
    with mpl.rc_context(PLOT_STYLE):
        figure, axes = plot_axes(width=7.6, height=0.8 + 0.29 * len(rows))
        for index, (name, start, duration) in enumerate(rows):
            is_outside = index in (0, len(rows) - 1)
            waits = name.startswith("queue")
            colour = INK if is_outside else COLOURS[4] if waits else COLOURS[0]
            axes.barh(index, duration, left=start, height=0.62, color=colour)
            _beside(axes, f"{duration:.2f} ms", start + duration, index)
        axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="ms after the frame was sent", xlim=(0, None))
        axes.margins(x=0.12)
        return svg_from_figure(figure)


def line_plot(lines: Sequence[Line], *, x: str, y: str, log_x: bool = False) -> bytes:
    """Return lines with their points; `log_x` doubles from tick to tick."""
    with mpl.rc_context(PLOT_STYLE):
        figure, axes = plot_axes(width=3.9, height=3.0)
        for index, line in enumerate(lines):
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(line.x, line.y, "o-", label=line.name, color=colour, markersize=4)
        places = sorted({value for line in lines for value in line.x})
        if log_x:
            axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(MaxNLocator(6))
        highest = max((value for line in lines for value in line.y), default=1.0)
        axes.set(xlabel=x, ylabel=y, ylim=(0, 1.1 * highest or 1.0))
        _legend(figure, [line.name for line in lines if line.name])
        return svg_from_figure(figure)


def bar_plot(bars: Sequence[Bar], *, x: str) -> bytes:
    """Return horizontal bars from 0, each with its value beside it."""
    with mpl.rc_context(PLOT_STYLE):
        figure, axes = plot_axes(width=5.4, height=0.7 + 0.27 * len(bars))
        colours = [INK if bar.is_other else COLOURS[0] for bar in bars]
        values = [bar.value for bar in bars]
        axes.barh(range(len(bars)), values, 0.66, color=colours)
        for index, bar in enumerate(bars):
            _beside(axes, bar.told, bar.value, index)
        axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel=x, xlim=(0, 1.15 * max(values, default=1)))
        return svg_from_figure(figure)


def _beside(axes: Axes, told: str, end: float, row: int) -> None:
    """Write at the end of a horizontal bar."""
    axes.annotate(
        told,
        (end, row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
    )


def _legend(figure: Figure, names: Collection[str]) -> None:
    """Name lines above the plot, where they cannot be in its way."""
    if names:
        each_inches = _KEY_INCHES + _LETTER_INCHES * max(map(len, names))
        columns = max(1, int(figure.get_figwidth() / each_inches))
        figure.legend(loc="outside upper left", ncols=columns)


def _plain_log(axis: Any, values: Collection[float]) -> None:
    """Tell 1, 2, 5, 10, 20 ... as they are, not as powers; more of a narrow range."""
    is_narrow = not values or max(values) < _NARROW * min(values)
    axis.set_major_locator(
        MaxNLocator(6, steps=_ROUND) if is_narrow else LogLocator(subs=_STEPS)
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
