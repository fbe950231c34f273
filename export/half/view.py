"""An ONNX graph as tables: who makes a tensor, who reads it, what it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper, shape_inference

from spinert.export.errors import GraphError
from spinert.export.half.operators import SIZES

__all__ = [
    "GraphView",
    "emptied",
    "free_name",
    "inferred_values",
    "largest",
    "view_of",
]

_FLOAT: Final = TensorProto.FLOAT
# Their input 2 is float32 whatever the data is; input 1 is not used.
_SIDE_INPUTS: Final = {"Resize": frozenset({1, 2})}
# Shape inference may need the values of shapes, never those of filters.
_SMALL: Final = 1024


@dataclass(frozen=True, kw_only=True)
class GraphView:
    """Tables over a graph whose nodes are in topological order."""

    nodes: Sequence[Any]
    producer: Mapping[str, int]
    """Tensor to the node that makes it; graph inputs and weights have none."""
    consumers: Mapping[str, tuple[int, ...]]
    types: Mapping[str, int]
    """Tensor to ONNX element type."""
    weights: Mapping[str, npt.NDArray[Any]]
    """By name; each read is a copy, so that there is no second one of them all."""
    outputs: tuple[str, ...]

    def float_inputs(self, index: int) -> list[str]:
        """Return the float32 inputs that follow the precision of a node."""
        node = self.nodes[index]
        if node.op_type in SIZES:
            return []
        fixed = _SIDE_INPUTS.get(node.op_type, frozenset())
        return [
            name
            for place, name in enumerate(node.input)
            if place not in fixed and self.is_float(name)
        ]

    def activations(self, index: int) -> list[str]:
        """Return the float32 inputs of a node that are not weights."""
        return [name for name in self.float_inputs(index) if name not in self.weights]

    def float_outputs(self, index: int) -> list[str]:
        """Return the float32 outputs of a node."""
        return [name for name in self.nodes[index].output if self.is_float(name)]

    def is_float(self, tensor: str) -> bool:
        """Tell whether a tensor is float32."""
        return self.types.get(tensor) == int(_FLOAT)

    def sources(self, index: int) -> Iterator[int]:
        """Yield the nodes that make the float32 inputs of a node."""
        for name in self.activations(index):
            if name in self.producer:
                yield self.producer[name]

    def readers(self, index: int) -> Iterator[int]:
        """Yield the nodes that read the float32 outputs of a node as such."""
        for name in self.float_outputs(index):
            for reader in self.consumers.get(name, ()):
                if name in self.float_inputs(reader):
                    yield reader


class _Weights(Mapping[str, npt.NDArray[Any]]):
    """Initializers as arrays, made when they are read."""

    def __init__(self, initializers: Iterable[Any]) -> None:
        self._items = {item.name: item for item in initializers}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = numpy_helper.to_array(self._items[name])
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, name: object) -> bool:
        return name in self._items


def emptied(model: Any) -> Any:
    """Return a model with the inputs and outputs of another, and nothing between.

    Cheaper than a copy: weights of a detector are hundreds of megabytes.
    """
    result = type(model)(ir_version=model.ir_version)
    result.opset_import.extend(model.opset_import)
    result.graph.name = model.graph.name
    result.graph.input.extend(model.graph.input)
    result.graph.output.extend(model.graph.output)
    return result


def free_name(wanted: str, taken: set[str]) -> str:
    """Return a name that is not taken, close to the one wanted."""
    name, number = wanted, 1
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name


def view_of(model: Any) -> GraphView:
    """Return the tables of a graph without subgraphs.

    Raises:
        GraphError: A node has a subgraph, or the type of a tensor is unknown.
    """
    graph = model.graph
    for node in graph.node:
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            message = f"node {node.name!r} ({node.op_type}) has a subgraph; "
            raise GraphError(message + "export the network without control flow")
    producer: dict[str, int] = {}
    consumers: dict[str, list[int]] = {}
    for index, node in enumerate(graph.node):
        producer.update((name, index) for name in node.output if name)
        for name in dict.fromkeys(node.input):
            consumers.setdefault(name, []).append(index)
    return GraphView(
        nodes=tuple(graph.node),
        producer=producer,
        consumers={name: tuple(readers) for name, readers in consumers.items()},
        types=_types(model, producer),
        weights=_Weights(graph.initializer),
        outputs=tuple(value.name for value in graph.output),
    )


def inferred_values(model: Any) -> dict[str, Any]:
    """Return what ONNX infers of each tensor: an `onnx.ValueInfoProto` by name."""
    graph = model.graph
    bare = emptied(model)
    bare.graph.node.extend(graph.node)
    for item in graph.initializer:
        if np.prod(item.dims) <= _SMALL:
            bare.graph.initializer.append(item)
        else:
            typed = helper.make_tensor_value_info(item.name, item.data_type, item.dims)
            bare.graph.input.append(typed)
    inferred = shape_inference.infer_shapes(bare).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    return {value.name: value for value in values}


def _types(model: Any, producer: Mapping[str, int]) -> dict[str, int]:
    """Return the element type of every tensor."""
    values = inferred_values(model)
    types = {name: v.type.tensor_type.elem_type for name, v in values.items()}
    types.update((item.name, item.data_type) for item in model.graph.initializer)
    for name, index in producer.items():
        if not types.get(name):
            node = model.graph.node[index]
            message = f"the type of {name!r} ({node.op_type}) cannot be inferred; "
            raise GraphError(message + "export the network again with its shapes")
    return types


def largest(values: npt.NDArray[Any]) -> float:
    """Return the largest magnitude of an array, 0 for an empty one."""
    return float(np.abs(values).max()) if values.size else 0.0
