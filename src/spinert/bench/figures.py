"""One measured quantity: a value for each round, so that its noise is known."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Figure", "figure_from_json", "json_from_figure", "ratio_text", "ratios_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A quantity that two reports can be compared by."""

    name: str
    """Stable, e.g. "levels.server.latency_p50"; others look for it."""
    unit: str
    values: tuple[float, ...]
    """One for each round, at least one."""
    lower_is_better: bool

    @property
    def median(self) -> float:
        """Return the value that is told."""
        return statistics.median(self.values)


def json_from_figure(figure: Figure) -> dict[str, Any]:
    """Return JSON values; `figure_from_json` reads them."""
    return {
        "name": figure.name,
        "unit": figure.unit,
        "lower_is_better": figure.lower_is_better,
        "median": figure.median,
        "values": list(figure.values),
    }


def figure_from_json(values: dict[str, Any]) -> Figure:
    """Read what `json_from_figure` wrote; a report's schema was checked before."""
    return Figure(
        name=values["name"],
        unit=values["unit"],
        values=tuple(map(float, values["values"])),
        lower_is_better=values["lower_is_better"],
    )


def ratios_of(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Return the ratios of paired rounds: neighbours in time meet the same noise."""
    values = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": len(values),
    }


def ratio_text(ratio: dict[str, Any]) -> str:
    """Return a ratio with its spread, as tables show it."""
    return f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
