"""PyTorch to ONNX, and the check that nothing but standard operators came out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from spinert.export.errors import GraphError
from spinert.export.onnx_translations import TRANSLATIONS

__all__ = [
    "GraphSpec",
    "check_graph",
    "foreign_operators",
    "onnx_from_torch",
    "traced_program",
]

OPSET: Final = 18
"""LayerNormalization is one operator (from 17); every back end reads it."""

# What TensorRT (10, 11, RTX), ONNX Runtime and OpenVINO all run without a plugin
# and without shapes that depend on data. NonZero, NonMaxSuppression, RoiAlign, Loop,
# If and Scan are left out on purpose.
_OPERATORS: Final = frozenset(
    [
        "Add",
        "And",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Conv",
        "Div",
        "Equal",
        "Exp",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "GatherElements",
        "Gemm",
        "GlobalAveragePool",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "InstanceNormalization",
        "LayerNormalization",
        "Less",
        "LessOrEqual",
        "Log",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pad",
        "Pow",
        "Range",
        "Reciprocal",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "Shape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "TopK",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """The outside of a graph."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic: tuple[dict[int, str], ...]
    """For each input: axis to name of every axis that is not fixed."""
    operators: tuple[str, ...] = ()
    """Allowed beyond those that every back end runs; the bundle names them."""


def _named_axes(value: Any, axes: dict[int, str]) -> None:
    """Name the free axes; the exporter leaves symbols such as `s22`."""
    for index, dimension in enumerate(value.type.tensor_type.shape.dim):
        if index in axes:
            dimension.dim_param = axes[index]


def _cleaned(model: Any, spec: GraphSpec) -> Any:
    """Remove what differs between machines: traces, file names, derived shapes."""
    for value, axes in zip(model.graph.input, spec.dynamic, strict=True):
        _named_axes(value, axes)
    for value in model.graph.output:
        _named_axes(value, {0: "batch"})
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    carriers = (model.graph.node, model.graph.initializer)
    for part in (*carriers, model.graph.input, model.graph.output):
        for item in part:
            del item.metadata_props[:]
            item.doc_string = ""
    return model


def _operators(graph: Any) -> set[str]:
    """Return the operators of a graph and of its subgraphs."""
    found = {node.op_type for node in graph.node}
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found |= _operators(inner)
    return found


def foreign_operators(model: Any) -> tuple[str, ...]:
    """Return the operators of a model that not every back end runs, sorted."""
    return tuple(sorted(_operators(model.graph) - _OPERATORS))


def check_graph(model: Any, spec: GraphSpec) -> None:
    """Check operators and the names of inputs and outputs.

    Raises:
        GraphError: An operator is custom or outside the list, or a name is wrong.
    """
    foreign = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if foreign or model.functions:
        raise GraphError("the graph has custom operators; use standard ones only")
    unknown = [op for op in foreign_operators(model) if op not in spec.operators]
    if unknown:
        names = ", ".join(unknown)
        message = f"the graph has operators that not every back end runs: {names}"
        raise GraphError(message)
    inputs = tuple(value.name for value in model.graph.input)
    outputs = tuple(value.name for value in model.graph.output)
    if inputs != spec.inputs or outputs != spec.outputs:
        message = f"the graph maps {inputs} to {outputs}; expected {spec.inputs} to "
        raise GraphError(f"{message}{spec.outputs}")


def traced_program(
    network: nn.Module, example: Sequence[Tensor], spec: GraphSpec
) -> Any:
    """Trace a network and return torch's `ONNXProgram`, neither cleaned nor checked."""
    free = torch.export.Dim.DYNAMIC
    return torch.onnx.export(
        network.eval(),
        tuple(example),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(spec.inputs),
        output_names=list(spec.outputs),
        dynamic_shapes=tuple(dict.fromkeys(axes, free) for axes in spec.dynamic),
        verbose=False,
        custom_translation_table=dict(TRANSLATIONS),
    )


def onnx_from_torch(
    network: nn.Module, example: Sequence[Tensor], spec: GraphSpec
) -> Any:
    """Return a network in eval mode as an `onnx.ModelProto` with its weights inside.

    Args:
        network: Tensors in, tensors out.
        example: One tensor per input, with at least two frames.
        spec: Names and free axes.

    Raises:
        GraphError: The graph breaks the contract.
    """
    with warnings.catch_warnings():
        # torch.export calls deprecated parts of torch and of copyreg in passing.
        warnings.simplefilter("ignore", category=DeprecationWarning)
        warnings.simplefilter("ignore", category=FutureWarning)
        program = traced_program(network, example, spec)
    model = _cleaned(program.model_proto, spec)
    # The optimizer's rules live as long as this process and hold the graph they saw
    # last. Without its weights it is small; filters from before a norm was folded
    # into them are out of reach.
    for value in program.model.graph.initializers.values():
        value.const_value = None
    check_graph(model, spec)
    return model
