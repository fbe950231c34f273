"""Small reports of `spinert bench`, valid by its schema."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def figure(
    values: Sequence[float],
    *,
    name: str = "levels.server.latency_p50",
    lower_is_better: bool = True,
) -> dict[str, Any]:
    return {
        "name": name,
        "unit": "ms",
        "lower_is_better": lower_is_better,
        "median": statistics.median(values),
        "values": list(values),
    }


def report_with(figures: Sequence[dict[str, Any]], **parts: Any) -> dict[str, Any]:
    """Return a report of nothing but `figures` and `parts`."""
    return {
        "format": 1,
        "made_at": "2026-01-02T03:04:05+00:00",
        "spinert": "0.1.0",
        "machine": {
            "cpu": "A processor",
            "cores": 2,
            "governor": None,
            "memory_gib": 8.0,
            "system": "Linux 6 x86_64",
            "python": "3.11.7",
            "packages": {"numpy": "2.0.0", "mlcommons-loadgen": None},
            "load_average": [0.1, 0.2, 0.3],
            "gpus": [],
        },
        "subject": {
            "where": "local",
            "bundle_name": "tiny <&>",
            "bundle_version": "1",
            "bundle_sha256": "ab" * 32,
            "notice": "",
            "backend": "fake 1",
            "precision": "fp32",
            "networks": {"classifier": "conv"},
            "runtime_version": "0.1.0",
            "degraded": False,
        },
        "settings": {
            "scenarios": ["levels"],
            "seconds": 1.0,
            "rounds": 5,
            "devices": [1],
            "pattern": "poisson",
            "seed": 0,
            "rules": False,
        },
        "failures": {"frames": 0, "by_reason": {}, "where": {}},
        "figures": list(figures),
        **parts,
    }
