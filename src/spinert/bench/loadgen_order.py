"""What is asked of MLPerf's LoadGen, and what it says; values of both processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

__all__ = [
    "LoadGenOrder",
    "Scenario",
    "order_from_json",
    "order_to_json",
    "result_from_summary",
]

RULES_SECONDS: Final = 600
"""Least duration by MLPerf Inference's rules."""
SAMPLES_PER_QUERY: Final = 8
"""Of MultiStream, as in MLPerf's mlperf.conf."""


class Scenario(StrEnum):
    """MLPerf Inference's scenarios, by their names in LoadGen."""

    SINGLE_STREAM = "SingleStream"
    """One frame after the other; p90 of the latency."""
    MULTI_STREAM = "MultiStream"
    """Eight frames after eight others; p99."""
    SERVER = "Server"
    """Poisson arrivals; the rate at which p99 stays within a bound."""
    OFFLINE = "Offline"
    """All frames at once; the throughput."""


@dataclass(frozen=True, kw_only=True)
class LoadGenOrder:
    """One run of LoadGen."""

    scenario: Scenario
    address: str
    frames: tuple[str, ...]
    """Files of `wire_from_frame`."""
    logs: str
    """Folder for what LoadGen writes."""
    seconds: float
    """Least duration of a performance run."""
    is_accuracy: bool = False
    """Every frame once, and its answer kept, instead of a performance run."""
    rate_per_s: float = 1.0
    """Server: of the arrivals. Offline: expected; the size of the one query."""
    latency_bound_ms: float = 1000.0
    """Server: what p99 may be."""
    depth: int = 16
    """Frames in flight on the one stream; more are kept back."""


def order_to_json(order: LoadGenOrder) -> str:
    """Return JSON; `order_from_json` reads it."""
    return json.dumps(asdict(order))


def order_from_json(content: str) -> LoadGenOrder:
    """Read what `order_to_json` wrote."""
    values = json.loads(content)
    values["scenario"] = Scenario(values["scenario"])
    values["frames"] = tuple(values["frames"])
    return LoadGenOrder(**values)


_RATES: Final = {
    Scenario.SINGLE_STREAM: "QPS w/o loadgen overhead",
    Scenario.SERVER: "Completed samples per second",
    Scenario.OFFLINE: "Samples per second",
}
_TARGETS: Final = {
    Scenario.SINGLE_STREAM: "90.00 percentile latency (ns)",
    Scenario.MULTI_STREAM: "99.00 percentile latency (ns)",
    Scenario.SERVER: "99.00 percentile latency (ns)",
}
"""The latency that a scenario is judged by, as the summary names it."""


def result_from_summary(scenario: Scenario, summary: str) -> dict[str, Any]:
    """Read mlperf_log_summary.txt.

    Returns:
        `state` (VALID, INVALID or ABSENT), `reasons` it gives for being invalid, the
        judged latency and rate where the scenario has one, and all `lines`.
    """
    lines = _lines(summary)
    target_ns = lines.get(_TARGETS.get(scenario, ""))
    rate = lines.get(_RATES.get(scenario, ""))
    return {
        "state": lines.get("Result is", "ABSENT"),
        "reasons": _reasons(summary),
        "judged_latency_ms": None if target_ns is None else float(target_ns) / 1e6,
        "per_s": None if rate is None else float(rate),
        "lines": lines,
    }


def _lines(summary: str) -> Mapping[str, str]:
    told = {}
    for line in summary.splitlines():
        name, colon, value = line.partition(":")
        if colon and value.strip():
            told[name.strip()] = value.strip()
    return told


def _reasons(summary: str) -> list[str]:
    """Return the recommendations that follow an INVALID result."""
    lines = summary.splitlines()
    # A sentence may go on in the next line; what is told here ends with its first.
    return [line.strip(" *,") for line in lines if "* " in line]
