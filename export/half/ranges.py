"""How large does each tensor of a graph become? Measured on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper

from spinert.export.half.operators import EXACT
from spinert.export.half.view import GraphView

__all__ = ["bounded_maxima", "measured_maxima", "touched_tensors"]

Feed = Mapping[str, npt.NDArray[Any]]
"""Inputs of a graph by name, with the batch axis."""


def touched_tensors(view: GraphView, nodes: Collection[int]) -> set[str]:
    """Return what to measure for `nodes`: the tensors they read and write.

    A tensor that only holds values of others stands for those: `bounded_maxima`.
    """
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [
        name
        for index in nodes
        for name in (*view.activations(index), *view.float_outputs(index))
    ]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        maker = view.producer.get(name)
        copied = view.activations(maker) if maker is not None else []
        if maker is not None and view.nodes[maker].op_type in EXACT and copied:
            waiting.extend(copied)
        else:
            found.add(name)
    return found


def bounded_maxima(view: GraphView, maxima: Mapping[str, float]) -> dict[str, float]:
    """Return `maxima` with an upper bound for every tensor made of measured ones."""
    bounded = dict(maxima)
    for index, node in enumerate(view.nodes):
        known = [bounded[n] for n in view.activations(index) if n in bounded]
        if node.op_type in EXACT and known:
            top = max(known)
            bounded.update((name, top) for name in view.float_outputs(index))
    return bounded


def measured_maxima(
    model: Any, tensors: Iterable[str], feeds: Iterable[Feed]
) -> dict[str, float]:
    """Return the largest magnitude of each tensor over all feeds.

    The graph itself reduces every tensor to its two extremes, so that one run per
    feed is enough and memory does not grow with what is watched.

    Args:
        model: A float32 `onnx.ModelProto`.
        tensors: Names of float32 tensors in it.
        feeds: The golden inputs.

    Returns:
        By tensor; NaN or infinite where the graph itself overflows.
    """
    names = sorted(tensors)
    if not names:
        return {}
    session = onnxruntime.InferenceSession(
        _watching(model, names), _options(), providers=["CPUExecutionProvider"]
    )
    maxima = np.zeros(len(names))
    for feed in feeds:
        low, high = session.run(["range.low", "range.high"], dict(feed))
        maxima = np.maximum(maxima, np.maximum(np.abs(low), np.abs(high)))
    return dict(zip(names, maxima.tolist(), strict=True))


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    # Shapes vary between the frames, and a plan per shape would be kept.
    options.enable_mem_pattern = False
    return options


def _watching(model: Any, names: list[str]) -> bytes:
    """Return the graph with two outputs: the minimum and maximum of every tensor."""
    watched = type(model)()
    watched.CopyFrom(model)
    graph = watched.graph
    del graph.output[:]
    for end, operator in (("low", "ReduceMin"), ("high", "ReduceMax")):
        ends = [f"range.{end}.{number}" for number in range(len(names))]
        graph.node.extend(
            helper.make_node(operator, [name], [out], keepdims=0)
            for name, out in zip(names, ends, strict=True)
        )
        graph.node.append(
            helper.make_node("Concat", _rows(graph, ends), [f"range.{end}"], axis=0)
        )
        graph.output.append(
            helper.make_tensor_value_info(f"range.{end}", TensorProto.FLOAT, [None])
        )
    serialised: bytes = watched.SerializeToString()
    return serialised


def _rows(graph: Any, scalars: list[str]) -> list[str]:
    """Give scalars an axis, so that they can be put behind each other."""
    axes = f"{scalars[0]}.axes"
    graph.initializer.append(helper.make_tensor(axes, TensorProto.INT64, [1], [0]))
    rows = [f"{name}.row" for name in scalars]
    graph.node.extend(
        helper.make_node("Unsqueeze", [name, axes], [row])
        for name, row in zip(scalars, rows, strict=True)
    )
    return rows
