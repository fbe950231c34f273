"""Figures of the report as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from spinert.runtime.report.plotting import (
    COLOURS,
    INK,
    PLOT_STYLE,
    plot_axes,
    svg_from_figure,
)

__all__ = [
    "Bars",
    "Curve",
    "HeatMap",
    "bar_plot",
    "curve_plot",
    "froc_plot",
    "heat_plot",
    "reliability_plot",
]

_FROC_TICKS: Final = (0.125, 0.25, 0.5, 1, 2, 4, 8)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line; the first of a plot is the one that matters."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    point: tuple[float, float] | None = None
    """Where the threshold puts it."""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A value for each group; None: undefined, shown as such."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """A figure over two settings."""

    rows: Sequence[float]
    columns: Sequence[float]
    values: Sequence[Sequence[float | None]]
    row_label: str
    column_label: str
    mark: tuple[float, float] | None = None
    """Row and column value of the setting in use."""


def curve_plot(
    curves: Sequence[Curve], *, x: str, y: str, diagonal: bool = False
) -> bytes:
    """Return curves in the unit square.

    Args:
        curves: Up to a member each; the first is drawn strong.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
        diagonal: Draw what chance achieves.
    """
    with mpl.rc_context(PLOT_STYLE):
        figure, axes = plot_axes()
        if diagonal:
            axes.plot((0, 1), (0, 1), color=INK, linewidth=0.8, linestyle=":")
        _draw_curves(axes, curves)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=x, ylabel=y)
        axes.set_aspect("equal")
        if len(curves) > 1:
            axes.legend(loc="lower right" if diagonal else "lower left")
        return svg_from_figure(figure)


def froc_plot(curves: Sequence[Curve]) -> bytes:
    """Return sensitivity against false positives per image, on a log axis."""
    with mpl.rc_context(PLOT_STYLE):
        figure, axes = plot_axes(width=5.4, height=4.6)
        _draw_curves(axes, curves, steps=True)
        axes.set_xscale("log", base=2)
        axes.set(
            xlim=(_FROC_TICKS[0] * 0.8, _FROC_TICKS[-1] * 1.2),
            ylim=(-0.01, 1.02),
            xlabel="false positives per image",
            ylabel="sensitivity, IoU 0.5",
        )
        axes.xaxis.set_major_locator(FixedLocator(_FROC_TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels(["1/8", "1/4", "1/2", "1", "2", "4", "8"])
        axes.legend(loc="best", ncols=1)
        return svg_from_figure(figure)


def reliability_plot(
    predicted: Sequence[float], observed: Sequence[float], counts: Sequence[int]
) -> bytes:
    """Return how often images are abnormal, by the probability they were given.

    Args:
        predicted: Mean probability of each bin that holds images.
        observed: Fraction of abnormal images in it.
        counts: Images in it; the area of its dot.
    """
    with mpl.rc_context(PLOT_STYLE):
        figure, axes = plot_axes()
        axes.plot((0, 1), (0, 1), color=INK, linewidth=0.8, linestyle=":")
        areas = 16 + 260 * np.asarray(counts) / max(1, max(counts, default=1))
        axes.plot(predicted, observed, color=COLOURS[0], linewidth=1.2, alpha=0.6)
        axes.scatter(predicted, observed, s=areas, color=COLOURS[0], alpha=0.75)
        axes.set(
            xlim=(-0.03, 1.03),
            ylim=(-0.03, 1.03),
            xlabel="mean probability of a bin",
            ylabel="fraction that is abnormal",
        )
        axes.set_aspect("equal")
        return svg_from_figure(figure)


def bar_plot(groups: Sequence[str], bars: Sequence[Bars], *, x: str) -> bytes:
    """Return horizontal bars from 0 to 1, side by side in each group."""
    with mpl.rc_context(PLOT_STYLE):
        figure, axes = plot_axes(width=5.8, height=0.9 + 0.46 * len(groups))
        thickness = 0.76 / len(bars)
        for index, bar in enumerate(bars):
            places = np.arange(len(groups)) + (index - (len(bars) - 1) / 2) * thickness
            known = [0.0 if value is None else value for value in bar.values]
            axes.barh(
                places, known, thickness * 0.9, label=bar.name, color=COLOURS[index]
            )
            for place, value in zip(places, bar.values, strict=True):
                told = "no truth" if value is None else f"{value:.3f}"
                axes.text((value or 0) + 0.008, place, told, va="center", fontsize=8)
        axes.set_yticks(np.arange(len(groups)), groups)
        axes.invert_yaxis()
        axes.set(xlim=(0, 1.12), xlabel=x)
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right")
        return svg_from_figure(figure)


def heat_plot(heat: HeatMap) -> bytes:
    """Return a grid of figures, each told in percent, the best in bold."""
    with mpl.rc_context(PLOT_STYLE | {"axes.grid": False}):
        figure, axes = plot_axes(
            width=2.2 + 0.62 * len(heat.columns), height=1.1 + 0.42 * len(heat.rows)
        )
        values = np.array(
            [[np.nan if v is None else v for v in row] for row in heat.values]
        )
        axes.imshow(values, cmap="cividis", aspect="auto", origin="lower")
        _write_cells(axes, values)
        axes.set_xticks(range(len(heat.columns)), [f"{v:g}" for v in heat.columns])
        axes.set_yticks(range(len(heat.rows)), [f"{v:g}" for v in heat.rows])
        axes.set(xlabel=heat.column_label, ylabel=heat.row_label)
        if heat.mark is not None:
            _mark(axes, heat, heat.mark)
        return svg_from_figure(figure)


def _draw_curves(axes: Axes, curves: Sequence[Curve], *, steps: bool = False) -> None:
    for index, curve in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(
            curve.x,
            curve.y,
            label=curve.name,
            color=colour,
            linewidth=2.0 if index == 0 else 1.1,
            linestyle="-" if index < len(COLOURS) else "--",
            drawstyle="steps-post" if steps else "default",
            zorder=3 if index == 0 else 2,
        )
        if curve.point is not None:
            axes.plot(*curve.point, "o", color=colour, markersize=6, zorder=4)


def _write_cells(axes: Axes, values: np.ndarray) -> None:
    if np.isnan(values).all():
        return
    least, best = np.nanmin(values), np.nanmax(values)
    middle = (least + best) / 2
    for (row, column), value in np.ndenumerate(values):
        told = "-" if np.isnan(value) else f"{100 * value:.1f}"
        axes.text(
            column,
            row,
            told,
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold" if least < value == best else "normal",
            color="#000000" if value > middle else "#ffffff",
        )


def _mark(axes: Axes, heat: HeatMap, mark: tuple[float, float]) -> None:
    """Frame the cell nearest to the setting in use."""
    row = int(np.argmin(np.abs(np.asarray(heat.rows) - mark[0])))
    column = int(np.argmin(np.abs(np.asarray(heat.columns) - mark[1])))
    frame = mpl.patches.Rectangle(
        (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=2
    )
    frame.set_clip_on(False)
    axes.add_patch(frame)
