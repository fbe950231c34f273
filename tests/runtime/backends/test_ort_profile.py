"""Operators by their time, from ONNX Runtime's trace."""

from __future__ import annotations

import pytest

from spinert.runtime.backends.ort_profile import layer_times_from_events


def node(at: float, operator: str, took_us: float) -> dict:
    return {
        "cat": "Node",
        "name": f"{operator}_{at}_kernel_time",
        "ts": at,
        "dur": took_us,
        "args": {"op_name": operator},
    }


def run(at: float) -> dict:
    return {"cat": "Session", "name": "model_run", "ts": at, "dur": 90}


def test_nodes_are_added_up_by_operator_without_the_first_run():
    events = [
        run(0),
        node(1, "Conv", 5_000),
        run(100),
        node(101, "Conv", 600),
        node(102, "Conv", 200),
        node(103, "Relu", 200),
        {**node(104, "Conv", 999), "name": "Conv_fence_before"},
        run(200),
        node(201, "Conv", 600),
        node(202, "Conv", 200),
        node(203, "Relu", 220),
    ]
    conv, relu = layer_times_from_events(events)
    assert (conv.name, conv.count) == ("Conv", 2)
    assert conv.duration_ms == pytest.approx(0.8)
    assert (relu.name, relu.count) == ("Relu", 1)
    assert relu.duration_ms == pytest.approx(0.21)


@pytest.mark.parametrize("events", [[], [run(0)], [run(0), node(1, "Conv", 5)]])
def test_a_trace_without_a_counted_run_has_no_layers(events):
    assert layer_times_from_events(events) == ()
