"""How large does each tensor of a graph become? Measured on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper

from spinert.export.half.operators import EXACT
from spinert.export.half.view import GraphView

__all__ = ["bounded_maxima", "measured_maxima", "touched_tensors", "watching_model"]

_ENDS: Final = MappingProxyType({"low": "ReduceMin", "high": "ReduceMax"})
_AXES: Final = "range.axes"

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
    feed is enough and memory does not grow with what is watched; see
    `watching_model`.

    Args:
        model: A float32 `onnx.ModelProto`.
        tensors: Names of float32 tensors in it.
        feeds: The golden inputs; the graph may have some of them only.

    Returns:
        By tensor; NaN or infinite where the graph itself overflows.
    """
    names = sorted(tensors)
    if not names:
        return {}
    session = onnxruntime.InferenceSession(
        watching_model(model, names).SerializeToString(),
        _options(),
        providers=["CPUExecutionProvider"],
    )
    inputs = [value.name for value in session.get_inputs()]
    maxima = np.zeros(len(names))
    for feed in feeds:
        (extremes,) = session.run(["range"], {name: feed[name] for name in inputs})
        largest = np.abs(extremes).reshape(-1, 2).max(axis=1)
        maxima = np.maximum(maxima, largest)
    return dict(zip(names, maxima.tolist(), strict=True))


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    # Shapes vary between the frames, and a plan per shape would be kept.
    options.enable_mem_pattern = False
    return options


def watching_model(model: Any, names: Sequence[str]) -> Any:
    """Return a graph with one output, `range`: the extremes of every tensor in turn.

    ONNX Runtime plans a graph backwards from its outputs, and from several inputs of
    a node follows the one first whose node stands last. Hence one output for all, and
    the tensor made first behind all others: it is reduced and let go of before the
    next is made. With an output for each extreme, all tensors lived until the end.

    Args:
        model: A float32 `onnx.ModelProto`, nodes in topological order.
        names: Of float32 tensors in it.
    """
    watched = type(model)()
    watched.CopyFrom(model)
    graph = watched.graph
    del graph.output[:]
    graph.initializer.append(helper.make_tensor(_AXES, TensorProto.INT64, [1], [0]))
    number = {name: index for index, name in enumerate(names)}
    made = [name for node in model.graph.node for name in node.output]
    given = sorted(set(names) - set(made))
    for name in reversed([*given, *filter(number.__contains__, made)]):
        for end, operator in _ENDS.items():
            row = f"range.{number[name]}.{end}"
            graph.node.extend(_reduced(name, row, operator))
    rows = [f"range.{index}.{end}" for index in number.values() for end in _ENDS]
    graph.node.append(helper.make_node("Concat", rows, ["range"], axis=0))
    output = helper.make_tensor_value_info("range", TensorProto.FLOAT, [None])
    graph.output.append(output)
    return watched


def _reduced(name: str, row: str, operator: str) -> list[Any]:
    """Return the nodes that make one element, with an axis, of a tensor."""
    scalar = f"{row}.scalar"
    return [
        helper.make_node(operator, [name], [scalar], name=scalar, keepdims=0),
        helper.make_node("Unsqueeze", [scalar, _AXES], [row], name=row),
    ]
