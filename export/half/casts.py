"""Write a plan into the graph: half weights, and one cast per tensor at each border."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from spinert.export.half.operators import SIZES
from spinert.export.half.plan import Plan
from spinert.export.half.view import GraphView, emptied, free_name

__all__ = ["half_model"]

_TO_HALF: Final = TensorProto.FLOAT16
_TO_SINGLE: Final = TensorProto.FLOAT


def half_model(model: Any, view: GraphView, plan: Plan) -> Any:
    """Return the mixed-precision graph; inputs and outputs keep their types.

    A weight that nodes of both precisions read is stored in both. A float32 tensor
    that several half nodes read is cast once, and the other way round.

    Args:
        model: The float32 `onnx.ModelProto` that `view` shows.
        view: Its tables.
        plan: Which nodes become half.
    """
    work = _Rewriting(view=view, plan=plan, taken=_names(view))
    for index in range(len(view.nodes)):
        work.node(index)
    result = emptied(model)
    result.graph.node.extend(work.nodes)
    read = {name for node in work.nodes for name in node.input}
    result.graph.initializer.extend(
        item for item in model.graph.initializer if item.name in read
    )
    result.graph.initializer.extend(work.weights)
    return result


def _names(view: GraphView) -> set[str]:
    names = {node.name for node in view.nodes}
    return names | set(view.weights) | set(view.types)


@dataclass(kw_only=True)
class _Rewriting:
    """The new graph as far as it is written."""

    view: GraphView
    plan: Plan
    taken: set[str]
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    halves: dict[str, str] = field(default_factory=dict)
    """Tensor or weight to its name in half."""
    singles: dict[str, str] = field(default_factory=dict)
    """Tensor that is made in half to its name in float32."""

    def node(self, index: int) -> None:
        """Write one node in its precision, and the casts that it needs first."""
        view = self.view
        is_half = index in self.plan.half
        following = set(view.float_inputs(index))
        node = type(view.nodes[index])()
        node.CopyFrom(view.nodes[index])
        for place, name in enumerate(node.input):
            if node.op_type in SIZES:
                node.input[place] = self.halves.get(name, name)
            elif name in following and is_half:
                node.input[place] = self._half(name)
            elif view.is_float(name) and name in self.halves:
                node.input[place] = self._single(name)
        self.nodes.append(node)
        if is_half:
            self._rename_outputs(node)

    def _rename_outputs(self, node: Any) -> None:
        """Let a half node write the half tensors; an output of the graph is cast."""
        for place, name in enumerate(node.output):
            if not self.view.is_float(name):
                continue
            self.halves[name] = node.output[place] = self._new(f"{name}.fp16")
            if name in self.view.outputs:
                self._cast(self.halves[name], name, _TO_SINGLE)
                self.singles[name] = name

    def _half(self, name: str) -> str:
        if name not in self.halves:
            self.halves[name] = self._new(f"{name}.fp16")
            if name in self.view.weights:
                values = self.view.weights[name].astype(np.float16)
                item = numpy_helper.from_array(values, self.halves[name])
                self.weights.append(item)
            else:
                self.singles[name] = name
                self._cast(name, self.halves[name], _TO_HALF)
        return self.halves[name]

    def _single(self, name: str) -> str:
        if name in self.view.weights:
            return name
        if name not in self.singles:
            self.singles[name] = name
            self._cast(self.halves[name], name, _TO_SINGLE)
        return self.singles[name]

    def _cast(self, source: str, target: str, to: int) -> None:
        name = self._new(f"{target}.cast")
        self.nodes.append(
            helper.make_node("Cast", [source], [target], name=name, to=to)
        )

    def _new(self, wanted: str) -> str:
        name = free_name(wanted, self.taken)
        self.taken.add(name)
        return name
