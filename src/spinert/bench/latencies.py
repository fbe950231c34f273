"""Latencies in an HdrHistogram: three digits from a microsecond to ten minutes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hdrh.histogram import HdrHistogram

__all__ = ["is_told", "latency_summary", "percentile_text"]

_LOWEST_US: Final = 1
_HIGHEST_US: Final = 600_000_000
_DIGITS: Final = 3
_PERCENTILES: Final = {
    "p50_ms": 50,
    "p90_ms": 90,
    "p95_ms": 95,
    "p99_ms": 99,
    "p999_ms": 99.9,
    "max_ms": 100,
}
_CURVE: Final = (
    *(0.1, 0.5, 1, 2, 3, 4),
    *range(5, 95, 2),
    *(95, 96, 97, 98, 98.5, 99, 99.25, 99.5, 99.75, 99.9, 99.95, 99.99, 100),
)
"""Percentiles that are drawn: close together where the tail begins."""


def is_told(summary: Mapping[str, Any], name: str) -> bool:
    """Tell whether a percentile means something: whether a frame lies beyond it.

    Of fewer frames it is the largest latency under another name.

    Args:
        summary: Of `latency_summary`.
        name: E.g. "p99".
    """
    percentile = _PERCENTILES[f"{name}_ms"]
    count = int(summary["count"])
    return count > 0 and (percentile == 100 or count >= round(100 / (100 - percentile)))


def percentile_text(summary: Mapping[str, Any], name: str, digits: int = 1) -> str:
    """Return a percentile in milliseconds; empty: there are too few frames."""
    return f"{summary[f'{name}_ms']:.{digits}f}" if is_told(summary, name) else ""


def latency_summary(seconds: Iterable[float]) -> dict[str, Any]:
    """Return count, mean, percentiles and the cumulative curve, in milliseconds.

    What takes longer than ten minutes counts as ten minutes.
    """
    histogram = HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)
    for value in seconds:
        microseconds = max(_LOWEST_US, round(1e6 * value))
        histogram.record_value(min(microseconds, _HIGHEST_US))
    count = histogram.get_total_count()
    if not count:
        return {"count": 0}
    told = {
        name: histogram.get_value_at_percentile(percentile) / 1000
        for name, percentile in _PERCENTILES.items()
    }
    # More points than values say nothing.
    curve = [
        [histogram.get_value_at_percentile(percentile) / 1000, percentile / 100]
        for percentile in _CURVE
    ]
    return {
        "count": count,
        "mean_ms": histogram.get_mean_value() / 1000,
        **told,
        "curve": curve,
    }
