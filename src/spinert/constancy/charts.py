"""Trends as inline SVG: a value for each run, and its limit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from spinert.runtime.report.html import Html, element, text

__all__ = ["Trend", "TrendPoint", "trend_chart"]

_WIDTH: Final = 480
_HEIGHT: Final = 150
_LEFT: Final = 52
_RIGHT: Final = 10
_TOP: Final = 14
_BOTTOM: Final = 24
_HEADROOM: Final = 1.15
_LARGEST_SHOWN: Final = 2.5
"""Times the limit; what is larger stands at the upper edge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrendPoint:
    """One run."""

    at: datetime
    value: float
    """NaN or infinite: drawn at the upper edge."""
    has_passed: bool
    bundle_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """What is drawn."""

    points: Sequence[TrendPoint]
    limit: float
    unit: str
    name: str
    """For those who cannot see it."""


def trend_chart(trend: Trend) -> Html:
    """Return a chart; the dashed line is the limit, red points did not pass.

    A thin line stands where the bundle changed. Runs stand side by side, whatever
    time lies between them.
    """
    largest = max(
        (point.value for point in trend.points if math.isfinite(point.value)),
        default=0.0,
    )
    shown = min(_HEADROOM * max(largest, trend.limit), _LARGEST_SHOWN * trend.limit)
    scale = _Scale(top=shown, count=len(trend.points))
    return element(
        "svg",
        element("title", text(trend.name)),
        *_axis(trend, scale),
        *_changes(trend.points, scale),
        *_line(trend.points, scale),
        *_marks(trend, scale),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        css="trend",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scale:
    top: float
    count: int

    def x(self, index: int) -> float:
        share = index / (self.count - 1) if self.count > 1 else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = min(value / self.top, 1.0) if math.isfinite(value) else 1.0
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _axis(trend: Trend, scale: _Scale) -> Iterator[Html]:
    floor, limit = scale.y(0), scale.y(trend.limit)
    yield _straight(_LEFT, _WIDTH - _RIGHT, floor, css="axis")
    yield _straight(_LEFT, _WIDTH - _RIGHT, limit, css="edge")
    for value, y in ((0.0, floor), (trend.limit, limit)):
        label = text(f"{value:g} {trend.unit}".strip())
        yield _label(label, x=_LEFT - 6, y=y + 4, anchor="end")
    dates = [point.at.date().isoformat() for point in trend.points]
    if not dates:
        return
    y = _HEIGHT - 6
    if dates[0] == dates[-1]:
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        yield _label(text(dates[0]), x=middle, y=y, anchor="middle")
        return
    yield _label(text(dates[0]), x=_LEFT, y=y, anchor="start")
    yield _label(text(dates[-1]), x=_WIDTH - _RIGHT, y=y, anchor="end")


def _changes(points: Sequence[TrendPoint], scale: _Scale) -> Iterator[Html]:
    for index, (before, after) in enumerate(pairwise(points)):
        if before.bundle_sha256 != after.bundle_sha256:
            x = (scale.x(index) + scale.x(index + 1)) / 2
            yield element(
                "line",
                element("title", text("the bundle changed")),
                css="change",
                x1=f"{x:.1f}",
                x2=f"{x:.1f}",
                y1=_TOP,
                y2=_HEIGHT - _BOTTOM,
            )


def _line(points: Sequence[TrendPoint], scale: _Scale) -> Iterator[Html]:
    places = " ".join(
        f"{scale.x(index):.1f},{scale.y(point.value):.1f}"
        for index, point in enumerate(points)
    )
    if len(points) > 1:
        yield element("polyline", css="course", points=places)


def _marks(trend: Trend, scale: _Scale) -> Iterator[Html]:
    for index, point in enumerate(trend.points):
        value = f"{point.value:.3g}" if math.isfinite(point.value) else "no answer"
        when = point.at.isoformat(sep=" ", timespec="minutes")
        word = "passed" if point.has_passed else "failed"
        yield element(
            "circle",
            element("title", text(f"{when}: {value} {trend.unit}, {word}")),
            css="mark" if point.has_passed else "mark bad",
            cx=f"{scale.x(index):.1f}",
            cy=f"{scale.y(point.value):.1f}",
            r=3,
        )


def _straight(x1: float, x2: float, y: float, *, css: str) -> Html:
    return element("line", css=css, x1=x1, x2=x2, y1=f"{y:.1f}", y2=f"{y:.1f}")


def _label(content: Html, *, x: float, y: float, anchor: str) -> Html:
    return element(
        "text", content, x=f"{x:.1f}", y=f"{y:.1f}", **{"text-anchor": anchor}
    )
