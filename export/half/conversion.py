"""FP32 graph to mixed FP16 graph, with the reason for every node that stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spinert.export.half.casts import half_model
from spinert.export.half.folding import folded_norms
from spinert.export.half.operators import MOVING
from spinert.export.half.plan import first_plan, plan_with_ranges
from spinert.export.half.ranges import (
    Feed,
    bounded_maxima,
    measured_maxima,
    touched_tensors,
)
from spinert.export.half.view import emptied, free_name, view_of
from spinert.proto import bundle_pb2 as pb

__all__ = ["HalfGraph", "half_from_single"]


@dataclass(frozen=True, kw_only=True)
class HalfGraph:
    """A mixed-precision graph with the outside of the float32 graph it came from."""

    model: Any
    """`onnx.ModelProto`; a self-contained file."""
    kept: tuple[pb.KeptNode, ...]
    """The nodes that compute in float32, and why; without those that only move."""
    half_nodes: int
    casts: int
    """Between float32 and half."""


def half_from_single(model: Any, feeds: Sequence[Feed]) -> HalfGraph:
    """Return the mixed FP16 graph of a float32 graph.

    Args:
        model: A float32 `onnx.ModelProto` with its weights inside.
        feeds: The golden inputs: half must be able to hold what they lead to.

    Raises:
        GraphError: The graph has control flow, or a norm without constant statistics.
    """
    # One name for all three: each is as large as all weights together.
    model = _prepared(model)
    model = folded_norms(model)
    view = view_of(model)
    plan = first_plan(view)
    maxima = measured_maxima(model, touched_tensors(view, plan.half), feeds)
    plan = plan_with_ranges(view, plan, bounded_maxima(view, maxima))
    result = half_model(model, view, plan)
    kept = [
        pb.KeptNode(
            node=view.nodes[index].name,
            operator=view.nodes[index].op_type,
            reason=reason,
        )
        for index, reason in sorted(plan.kept.items())
        if view.nodes[index].op_type not in MOVING
    ]
    return HalfGraph(
        model=result,
        kept=tuple(kept),
        half_nodes=len(plan.half),
        casts=len(result.graph.node) - len(view.nodes),
    )


def _prepared(model: Any) -> Any:
    """Return a copy whose nodes have names of their own and no Constant among them.

    ONNX allows neither to be so; half weights are made of weights.
    """
    result = emptied(model)
    result.graph.initializer.extend(model.graph.initializer)
    taken = {node.name for node in model.graph.node}
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        value = {item.name: item for item in node.attribute}.get("value")
        if node.op_type == "Constant" and value is not None:
            result.graph.initializer.append(value.t)
            result.graph.initializer[-1].name = node.output[0]
            continue
        result.graph.node.append(node)
        if not node.name or node.name in seen:
            result.graph.node[-1].name = free_name(f"{node.op_type}_{index}", taken)
            taken.add(result.graph.node[-1].name)
        seen.add(node.name)
    return result
