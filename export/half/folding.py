"""Batch norms of a trained network are an affine map; make them one before the cast.

Their variances leave half's range (the official scaling gives 1e8 and more), their
quotients do not. A norm behind a convolution disappears into it; any other becomes
one multiplication and one addition per channel.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper, numpy_helper

from spinert.export.errors import GraphError
from spinert.export.half.view import emptied, free_name, inferred_values

__all__ = ["folded_norms"]

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Affine:
    """y = scale * x + shift, per channel, float64 [C]."""

    scale: _Array
    shift: _Array


class _Folding:
    """One graph whose norms are replaced; collects the new weights."""

    def __init__(self, model: Any) -> None:
        copies = emptied(model)
        copies.graph.node.extend(model.graph.node)
        self.nodes = list(copies.graph.node)
        self.values = inferred_values(model)
        self.weights = {item.name: item for item in model.graph.initializer}
        self.taken = set(self.weights) | {
            name for node in self.nodes for name in (*node.output, node.name)
        }
        self.producers = {o: node for node in self.nodes for o in node.output}
        self.reads = Counter(name for node in self.nodes for name in node.input)
        self.reads.update(value.name for value in model.graph.output)

    def array(self, name: str, norm: Any) -> _Array:
        if name not in self.weights:
            message = f"batch norm {norm.name!r} has statistics that are computed; "
            raise GraphError(message + "export the network in evaluation mode")
        values: _Array = numpy_helper.to_array(self.weights[name]).astype(np.float64)
        return values

    def affine(self, norm: Any) -> _Affine:
        gamma, beta, mean, var = (self.array(name, norm) for name in norm.input[1:5])
        stated = {item.name: item for item in norm.attribute}
        eps = stated["epsilon"].f if "epsilon" in stated else 1e-5
        scale = gamma / np.sqrt(var + eps)
        return _Affine(scale=scale, shift=beta - mean * scale)

    def new_weight(self, wanted: str, values: _Array) -> str:
        name = free_name(wanted, self.taken)
        self.taken.add(name)
        self.weights[name] = numpy_helper.from_array(values.astype(np.float32), name)
        return name

    def convolution(self, norm: Any) -> Any | None:
        """Return the convolution that only this norm reads, with constant weights."""
        conv = self.producers.get(norm.input[0])
        if conv is None or conv.op_type != "Conv" or self.reads[norm.input[0]] > 1:
            return None
        return conv if all(name in self.weights for name in conv.input[1:]) else None

    def fold(self, norm: Any, conv: Any) -> None:
        """Scale the filters of `conv` and let it write what the norm wrote."""
        affine = self.affine(norm)
        filters = self.array(conv.input[1], norm)
        filters = filters * affine.scale.reshape(-1, *[1] * (filters.ndim - 1))
        shift = affine.shift
        if len(conv.input) > 2:
            shift = shift + self.array(conv.input[2], norm) * affine.scale
        names = self.new_weight(f"{conv.input[1]}.folded", filters)
        bias = self.new_weight(f"{norm.input[2]}.folded", shift)
        conv.input[:] = [conv.input[0], names, bias]
        conv.output[0] = norm.output[0]

    def spelled_out(self, norm: Any) -> list[Any]:
        """Return the norm as a multiplication and an addition; as it is if rankless."""
        affine = self.affine(norm)
        known = self.values.get(norm.output[0])
        if known is None or not known.type.tensor_type.HasField("shape"):
            return [norm]
        stated = known.type.tensor_type
        shape = (1, -1, *[1] * (len(stated.shape.dim) - 2))
        scale = self.new_weight(f"{norm.input[1]}.scale", affine.scale.reshape(shape))
        shift = self.new_weight(f"{norm.input[2]}.shift", affine.shift.reshape(shape))
        scaled = free_name(f"{norm.output[0]}.scaled", self.taken)
        name = free_name(f"{norm.name}.scale", self.taken)
        self.taken |= {scaled, name}
        source = norm.input[0]
        return [
            helper.make_node("Mul", [source, scale], [scaled], name=name),
            helper.make_node("Add", [scaled, shift], [norm.output[0]], name=norm.name),
        ]


def folded_norms(model: Any) -> Any:
    """Return a copy of an FP32 graph without BatchNormalization.

    The arithmetic is in float64 and rounded once. A norm of unknown rank stays.

    Args:
        model: `onnx.ModelProto` whose nodes have names.

    Raises:
        GraphError: The statistics of a norm are not constants.
    """
    nodes: list[Any] = []
    work = _Folding(model)
    for node in work.nodes:
        if node.op_type != "BatchNormalization":
            nodes.append(node)
        elif conv := work.convolution(node):
            work.fold(node, conv)
        else:
            nodes.extend(work.spelled_out(node))
    result = emptied(model)
    result.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    weights = (item for name, item in work.weights.items() if name in read)
    result.graph.initializer.extend(weights)
    return result
