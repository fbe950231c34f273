"""The FP16 graph as a float32 graph that rounds like it.

ONNX Runtime computes half convolutions on x86 in float32 and drops the casts between
two of them, so that running the FP16 graph there hides nearly all of its rounding.
Here every half tensor is rounded to half's 11 bits by ordinary float32 arithmetic.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from spinert.export.half.operators import EXACT, SIZES
from spinert.export.half.view import emptied

__all__ = ["rounding_model"]

_SPLIT: Final = 2.0**13 + 1
"""Dekker, Numer. Math. 18 (1971): x*s - (x*s - x) keeps 24 - 13 bits of x."""
_GRID: Final = 0.75
"""Adding and taking it away leaves multiples of 2**-24, the steps of subnormals."""


def rounding_model(model: Any) -> Any:
    """Return a float32 graph with the values, up to overflow, of a mixed one.

    Inputs and outputs are those of `model`. Half's range is not emulated: what a
    graph computes in half was measured to fit.

    Args:
        model: As `spinert.export.half.casts.half_model` makes it.
    """
    halves = _half_tensors(model)
    result = emptied(model)
    graph = result.graph
    for node in model.graph.node:
        graph.node.extend(_rounded_nodes(node, halves))
    constants = {"rounding.split": _SPLIT, "rounding.grid": _GRID}
    graph.initializer.extend(_widened(item) for item in model.graph.initializer)
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in constants.items()
    )
    return result


def _half_tensors(model: Any) -> set[str]:
    """Return the names of all tensors of type float16."""
    halves = {
        item.name
        for item in model.graph.initializer
        if item.data_type == TensorProto.FLOAT16
    }
    for node in model.graph.node:
        if node.op_type == "Cast":
            is_half = node.attribute[0].i == TensorProto.FLOAT16
        else:
            is_half = node.op_type not in SIZES and bool(halves & set(node.input))
        if is_half:
            halves.update(node.output)
    return halves


def _rounded_nodes(node: Any, halves: set[str]) -> list[Any]:
    """Return a node in float32, and the rounding of what it writes in half."""
    copy = type(node)()
    copy.CopyFrom(node)
    if node.op_type == "Cast" and halves & {*node.input, *node.output}:
        copy = helper.make_node("Identity", node.input, node.output, name=node.name)
    if node.op_type in EXACT or not halves & set(node.output):
        return [copy]
    name = node.output[0]
    copy.output[0] = f"{name}.exact"
    return [copy, *_rounding(f"{name}.exact", name)]


def _rounding(source: str, target: str) -> list[Any]:
    steps = [
        ("Add", source, "rounding.grid", "shifted"),
        ("Sub", f"{target}.shifted", "rounding.grid", "gridded"),
        ("Mul", f"{target}.gridded", "rounding.split", "split"),
        ("Sub", f"{target}.split", f"{target}.gridded", "rest"),
    ]
    nodes = [
        helper.make_node(operator, [left, right], [f"{target}.{out}"])
        for operator, left, right, out in steps
    ]
    last = [f"{target}.split", f"{target}.rest"]
    return [*nodes, helper.make_node("Sub", last, [target])]


def _widened(item: Any) -> Any:
    if item.data_type != TensorProto.FLOAT16:
        return item
    values = numpy_helper.to_array(item).astype(np.float32)
    return numpy_helper.from_array(values, item.name)
