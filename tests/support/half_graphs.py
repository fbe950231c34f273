"""Hand-built float32 graphs with one problem each for half precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

__all__ = ["SIDE", "GraphBuilder", "feed_of", "outputs_of"]

SIDE = 8
"""Pixels of every image here."""
_FLOAT = TensorProto.FLOAT


class GraphBuilder:
    """A graph from `image` uint8 (N,1,8,8) and `image_size` int32 (N,2)."""

    def __init__(self) -> None:
        """Start with the inputs and a grey image in float32, `grey`."""
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.add("Cast", ["image"], "cast", to=_FLOAT)
        self.add("Mul", ["cast", self.weight("unit", np.float32(1 / 255))], "grey")

    def weight(self, name: str, values: npt.ArrayLike) -> str:
        array = np.asarray(values)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, **a: Any) -> str:
        node = helper.make_node(operator, inputs, [output], name=f"to_{output}", **a)
        self.nodes.append(node)
        return output

    def conv(self, source: str, output: str, filters: npt.ArrayLike) -> str:
        """Add a 1x1 convolution with filters [out, in]."""
        values = np.asarray(filters, np.float32)[:, :, None, None]
        return self.add("Conv", [source, self.weight(f"{output}.w", values)], output)

    def norm(
        self, source: str, output: str, statistics: Sequence[float], eps: float = 0.0
    ) -> str:
        """Add a batch norm of one channel with (gamma, beta, mean, variance)."""
        names = [
            self.weight(f"{output}.{name}", np.float32([value]))
            for name, value in zip(("g", "b", "m", "v"), statistics, strict=True)
        ]
        return self.add("BatchNormalization", [source, *names], output, epsilon=eps)

    def model(self, **outputs: int) -> onnx.ModelProto:
        """Return the model; `outputs` gives the rank of each float32 output."""
        graph = helper.make_graph(
            self.nodes,
            "planted",
            [
                helper.make_tensor_value_info(
                    "image", TensorProto.UINT8, ["N", 1, SIDE, SIDE]
                ),
                helper.make_tensor_value_info(
                    "image_size", TensorProto.INT32, ["N", 2]
                ),
            ],
            [
                helper.make_tensor_value_info(name, _FLOAT, [None] * rank)
                for name, rank in outputs.items()
            ],
            self.weights,
        )
        opset = helper.make_opsetid("", 18)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
        onnx.checker.check_model(model)
        return model


def feed_of(batch: int = 1, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Return random inputs of the graphs here."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (batch, 1, SIDE, SIDE)).astype(np.uint8)
    return {"image": image, "image_size": np.full((batch, 2), SIDE, np.int32)}


def outputs_of(
    model: onnx.ModelProto, feed: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Run a model on the CPU, without optimisations that reorder arithmetic."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    given = {value.name: feed[value.name] for value in session.get_inputs()}
    return dict(zip(names, session.run(names, given), strict=True))
