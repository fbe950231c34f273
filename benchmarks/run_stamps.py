"""When, where and at which commit each part of `make bench` was measured.

Parts may be measured anew one by one, so a file of results may hold several runs.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_KIND = ("cpu", "cores", "gpus")
"""Of a machine: what two runs must have in common to stand in one table."""


def commit_of(folder: Path) -> str | None:
    """Return the commit of a checkout, and whether files differ; None: it is none."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def stamped(results: Mapping[str, Any], parts: Iterable[str]) -> dict[str, Any]:
    """Return results of which each part has a stamp.

    Files of before there were any have one date and one machine for all parts.
    """
    before = {"run": results.get("date"), "machine": results.get("machine")}
    stamps = {name: before for name in parts if name in results}
    return {**results, "stamps": stamps | results.get("stamps", {})}


def runs_text(results: Mapping[str, Any]) -> str:
    """Return which parts came from which run; empty: one run made them all."""
    runs: dict[str, list[str]] = {}
    kinds = set()
    for name, stamp in results.get("stamps", {}).items():
        told = stamp["run"]
        if commit := stamp.get("commit"):
            told += f" at {commit}"
        runs.setdefault(told, []).append(name)
        kinds.add(str([stamp["machine"].get(key) for key in _KIND]))
    if len(runs) < 2:
        return ""
    told = "; ".join(f"{run}: {', '.join(runs[run])}" for run in sorted(runs))
    warning = " They ran on machines that differ." if len(kinds) > 1 else ""
    return f"Parts of {len(runs)} runs: {told}.{warning}"
