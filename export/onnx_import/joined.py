"""One graph with the bundle's inputs out of ONNX files and the nodes around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import onnx
from onnx import TensorProto, checker, compose, helper

from spinert.export.errors import GraphError
from spinert.export.onnx_import.input_nodes import image_value, size_value
from spinert.export.onnx_import.nodes import Nodes
from spinert.export.onnx_import.ports import ImagePort, SizePort
from spinert.export.onnx_import.reading import ReadModel, at_opset
from spinert.proto import bundle_pb2 as pb

__all__ = ["JoinedGraph", "at_one_opset"]

Value = tuple[str, int, tuple[int | str, ...]]
"""Name, element type of `onnx.TensorProto`, and shape of an output."""

_TYPES: Final = {
    pb.ELEMENT_UINT8: TensorProto.UINT8,
    pb.ELEMENT_FLOAT32: TensorProto.FLOAT,
}


class JoinedGraph:
    """A graph from the bundle's inputs to what is made of several files' answers."""

    def __init__(self, stated: pb.NetworkInput) -> None:
        """Start with the inputs that the bundle states."""
        self.nodes = Nodes()
        self._stated = stated
        self._parts: list[ReadModel] = []

    def inputs(self) -> list[Any]:
        """Return the value infos of `image` and, if stated, `image_size`."""
        stated = self._stated
        kind = stated.canvas.WhichOneof("kind") or ""
        policy = getattr(stated.canvas, kind)
        height = getattr(policy, "height", "height")
        width = getattr(policy, "width", "width")
        is_grey = stated.element_type == pb.ELEMENT_UINT8
        shape = ("batch", 1 if is_grey else len(stated.mean), height, width)
        image = helper.make_tensor_value_info(
            "image", _TYPES[stated.element_type], shape
        )
        if not stated.takes_image_size:
            return [image]
        return [
            image,
            helper.make_tensor_value_info(
                "image_size", TensorProto.INT32, ("batch", 2)
            ),
        ]

    def append(
        self, read: ReadModel, image: ImagePort, size: SizePort | None
    ) -> Mapping[str, str]:
        """Feed a file and append its nodes.

        Returns:
            The file's output names to those in this graph.

        Raises:
            RecipeError: The file's image cannot be made of the stated input.
        """
        prefix = f"file_{len(self._parts)}/"
        self._parts.append(read)
        is_padded = self._stated.takes_image_size
        value = image_value(self.nodes, self._stated, image, is_padded=is_padded)
        self.nodes.name(value, prefix + image.name)
        if size is not None:
            self.nodes.name(size_value(self.nodes, size), prefix + size.name)
        graph = _prefixed(read.model.graph, prefix)
        self.nodes.nodes.extend(graph.node)
        self.nodes.constants.extend(graph.initializer)
        self.nodes.sparse_constants.extend(graph.sparse_initializer)
        names = [value.name for value in read.model.graph.output]
        return {name: prefix + name for name in names}

    def model(self, outputs: Sequence[Value]) -> Any:
        """Return an `onnx.ModelProto` with these outputs.

        Raises:
            GraphError: The graph as a whole breaks the ONNX standard.
        """
        graph = helper.make_graph(
            self.nodes.nodes,
            "imported",
            self.inputs(),
            [helper.make_tensor_value_info(*value) for value in outputs],
            self.nodes.constants,
            sparse_initializer=self.nodes.sparse_constants,
        )
        opset = max(part.opset for part in self._parts)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=max(part.model.ir_version for part in self._parts),
            producer_name="spinert",
        )
        try:
            checker.check_model(model, full_check=True)
        except (checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            names = ", ".join(part.name for part in self._parts)
            message = f"{names}: does not fit the inputs and outputs that are declared"
            raise GraphError(f"{message}; check [...mapping]") from error
        return model


def at_one_opset(reads: Sequence[ReadModel]) -> list[ReadModel]:
    """Return files of the highest opset among them.

    Raises:
        GraphError: One cannot be converted.
    """
    target = max(read.opset for read in reads)
    return [
        ReadModel(
            name=read.name,
            model=at_opset(read.model, read.name, target),
            opset=target,
            notes=read.notes,
        )
        for read in reads
    ]


def _prefixed(graph: Any, prefix: str) -> Any:
    """Return a copy whose every name has a prefix, without traces of its origin."""
    # Weights are named first: subgraphs refer to those of the graph around them.
    names = {tensor.name: prefix + tensor.name for tensor in graph.initializer}
    copy = compose.add_prefix_graph(graph, prefix, name_map=names)
    for node in copy.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return copy
