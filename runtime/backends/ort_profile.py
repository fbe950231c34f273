"""ONNX Runtime's own profile: a trace of events, added up by operator."""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spinert.runtime.backends import Arrays
from spinert.runtime.backends.profiled import LayerTime

__all__ = ["layer_times_from_events", "traced_runs"]


def traced_runs(
    ort: Any, onnx: Path, options: Any, inputs: Arrays, runs: int
) -> list[dict[str, Any]]:
    """Run a graph on the CPU, in a session of its own; return the trace events.

    Args:
        ort: The module onnxruntime.
        onnx: The graph.
        options: SessionOptions, to which profiling is added.
        inputs: Of the graph, by name.
        runs: How many.
    """
    with tempfile.TemporaryDirectory(prefix="spinert-profile-") as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(
            str(onnx), sess_options=options, providers=["CPUExecutionProvider"]
        )
        for _ in range(runs):
            session.run(None, dict(inputs))
        trace = Path(session.end_profiling()).read_text()
    events: list[dict[str, Any]] = json.loads(trace)
    return events


def layer_times_from_events(
    events: Sequence[Mapping[str, Any]],
) -> tuple[LayerTime, ...]:
    """Return the mean of each operator over all runs but the first."""
    starts = sorted(event["ts"] for event in events if event["name"] == "model_run")
    counted = starts[1:]
    spent_us: defaultdict[str, float] = defaultdict(float)
    nodes: Counter[str] = Counter()
    for event in events:
        is_node = event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        if counted and is_node and event["ts"] >= counted[0]:
            name = event["args"]["op_name"]
            spent_us[name] += event["dur"]
            nodes[name] += 1
    return tuple(
        LayerTime(
            name=name,
            count=nodes[name] // len(counted),
            duration_ms=total / len(counted) / 1000,
        )
        for name, total in spent_us.items()
    )
