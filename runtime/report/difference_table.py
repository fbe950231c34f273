"""Measured differences as a table with bars."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from spinert.runtime.report.html import Html, element, table, text

__all__ = ["MeasuredOutput", "difference_table"]

_DECADES_BELOW: Final = 5.0
_DECADES_ABOVE: Final = 1.0
_WIDTH: Final = 600
_HEIGHT: Final = 16
_UNITS: Final = {
    "logits": "logits",
    "boxes": "boxes, network px",
    "scores": "scores",
    "labels": "candidates lost or invented",
    "switched": "candidates another one stands for, share",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredOutput:
    """How far one output of a network is from its reference."""

    output: str
    max_abs: float
    mean_abs: float
    tolerance_abs: float

    @property
    def is_within(self) -> bool:
        """Tell whether the largest difference may be; not a number may not."""
        return self.max_abs <= self.tolerance_abs


def difference_table(measured: Iterable[MeasuredOutput]) -> Html:
    """Return one row for each output; a bar shows how near the tolerance it is."""
    rows = [
        (
            "" if entry.is_within else "bad",
            [
                text(_UNITS.get(entry.output, entry.output)),
                text(_figure(entry.max_abs)),
                text(_mean(entry)),
                text(_figure(entry.tolerance_abs)),
                _bar(entry),
            ],
        )
        for entry in measured
    ]
    header = ("output", "largest", "mean", "tolerance", "largest against tolerance")
    return table(header, rows, numbers=(1, 2, 3), wide=4)


def _mean(entry: MeasuredOutput) -> str:
    """Return the mean; bundles of earlier versions store none."""
    is_stored = entry.mean_abs > 0 or entry.max_abs == 0
    return _figure(entry.mean_abs) if is_stored else "not stored"


def _figure(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.2g}" if 1e-3 <= value < 1e4 else f"{value:.1e}"


def _bar(entry: MeasuredOutput) -> Html:
    """Draw the difference on a logarithmic axis; the line is the tolerance."""
    limit = _WIDTH * _DECADES_BELOW / (_DECADES_BELOW + _DECADES_ABOVE)
    told = f"{_figure(entry.max_abs)} of {_figure(entry.tolerance_abs)}"
    return element(
        "svg",
        element("title", text(told)),
        _rectangle(0, _WIDTH, "track"),
        _rectangle(0, _share(entry) * _WIDTH, "bar" if entry.is_within else "bar bad"),
        element(
            "line", css="limit", x1=f"{limit:.0f}", x2=f"{limit:.0f}", y1=0, y2=_HEIGHT
        ),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
    )


def _rectangle(x: float, width: float, css: str) -> Html:
    return element(
        "rect", css=css, x=f"{x:.0f}", y=3, width=f"{width:.1f}", height=_HEIGHT - 6
    )


def _share(entry: MeasuredOutput) -> float:
    """Return the length of the bar, 0 to 1."""
    if entry.max_abs == 0:
        return 0.0
    if entry.tolerance_abs == 0 or not math.isfinite(entry.max_abs):
        return 1.0
    decades = math.log10(entry.max_abs / entry.tolerance_abs) + _DECADES_BELOW
    return min(max(decades / (_DECADES_BELOW + _DECADES_ABOVE), 0.01), 1.0)
