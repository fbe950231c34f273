"""Write ONNX nodes as expressions: each call returns the name of its result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

__all__ = ["Nodes"]


class Nodes:
    """A list of nodes and constants that grows; operators as of opset 13 to 18."""

    def __init__(self) -> None:
        """Start empty."""
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.sparse_constants: list[Any] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output."""
        return self.add_many(operator, inputs, 1, **attributes)[0]

    def add_many(
        self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any
    ) -> tuple[str, ...]:
        """Append a node with several outputs."""
        stem = f"contract/{operator}_{len(self.nodes)}"
        names = tuple(f"{stem}/{index}" for index in range(outputs))
        node = helper.make_node(operator, inputs, names, name=stem, **attributes)
        self.nodes.append(node)
        return names

    def name(self, value: str, name: str) -> str:
        """Give a value the name that the outside knows."""
        stem = f"contract/Identity_{len(self.nodes)}"
        self.nodes.append(helper.make_node("Identity", [value], [name], name=stem))
        return name

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Add a constant array."""
        name = f"contract/constant_{len(self.constants)}"
        array = np.asarray(values, dtype=dtype)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    # -------------------------------------------------------- combinations

    def floats(self, value: str) -> str:
        """Cast to float32."""
        return self.add("Cast", value, to=TensorProto.FLOAT)

    def integers(self, value: str) -> str:
        """Cast to int64, towards zero."""
        return self.add("Cast", value, to=TensorProto.INT64)

    def slice(self, value: str, start: int, end: int, axis: int) -> str:
        """Take [start, end) of an axis."""
        bounds = [self.constant([n], np.int64) for n in (start, end, axis)]
        return self.add("Slice", value, *bounds)

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Reshape; 0 keeps an axis, -1 takes the rest."""
        return self.add("Reshape", value, self.constant(shape, np.int64))

    def top(self, values: str, count: int, axis: int) -> tuple[str, str]:
        """Return the largest values along an axis and their indices, int64."""
        k = self.constant([count], np.int64)
        best, index = self.add_many("TopK", (values, k), 2, axis=axis)
        return best, index

    def gather_boxes(self, boxes: str, index: str) -> str:
        """Pick boxes (N,A,4) by an index (N,K)."""
        column = self.add("Unsqueeze", index, self.constant([2], np.int64))
        spread = self.add("Expand", column, self.constant([1, 1, 4], np.int64))
        return self.add("GatherElements", boxes, spread, axis=1)
