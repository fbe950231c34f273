"""Which nodes compute in half precision, and why the others do not.

Half is for the heavy part: convolutions, matrix products and what lies between
them. Decisions and coordinates are everything from the inputs to the first heavy
node, and everything between the last heavy node and an index, a comparison or an
output; they stay in float32. Half has steps of 1 px above 1024 and would move boxes
and change the order of scores. The rule reads the graph's dataflow, so that it is
the same for every family, imported ONNX files included.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from spinert.export.half.operators import EXACT, HEAVY, LINEAR, MOVING, kept_reason
from spinert.export.half.view import GraphView, largest

__all__ = ["LIMIT", "Plan", "first_plan", "plan_with_ranges"]

LIMIT: Final = 3e4
"""Largest magnitude a half tensor may have on the golden inputs: half ends at 65504,
and other images are brighter."""
_FLOOR: Final = 2.0**-10
"""A tensor whose largest value is below this has lost bits: half's full precision
ends at 2**-14, and most values are smaller than the largest."""
_CANCELLATION: Final = 32.0
"""A sum this much smaller than its terms has lost 5 of half's 11 bits."""
_WEIGHT_LOSS: Final = 2.0**-10
"""Relative to the largest weight: twice what rounding to half costs."""
_HALF_MAX: Final = 65504.0

_INPUT: Final = "arithmetic on inputs, integers or comparisons"
_COORDINATE: Final = "coordinates: they lead to an index or a comparison"
_FOLLOWS: Final = "its inputs are float32"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The precision of every node that reads or writes float32."""

    half: frozenset[int]
    kept: Mapping[int, str]
    """Node to the reason why it stays in float32."""


def first_plan(view: GraphView) -> Plan:
    """Return what could be half as far as the graph itself tells."""
    reasons: dict[int, str] = {}
    heavy = _heavy(view)
    _merge(reasons, _weight_reasons(view))
    _merge(reasons, _decisions(view, heavy))
    _merge(reasons, _never(view))
    _merge(reasons, _last_maps(view, heavy, reasons))
    return _resolved(view, reasons)


def plan_with_ranges(view: GraphView, plan: Plan, maxima: Mapping[str, float]) -> Plan:
    """Return `plan` without the nodes that the measured ranges rule out.

    Args:
        view: The graph.
        plan: As `first_plan` made it.
        maxima: Largest magnitude of the tensors that half nodes touch.
    """
    reasons = {i: r for i, r in plan.kept.items() if r != _FOLLOWS}
    _merge(reasons, _range_reasons(view, plan, maxima))
    return _resolved(view, reasons)


def _merge(reasons: dict[int, str], more: Mapping[int, str]) -> None:
    """Add reasons; the first one found stays."""
    for index, reason in more.items():
        reasons.setdefault(index, reason)


def _heavy(view: GraphView) -> set[int]:
    """Return the heavy nodes that work on features.

    A product of two things that both come from comparisons or integers is not one:
    it is how a graph suppresses overlapping boxes.
    """
    features: set[str] = set()
    heavy: set[int] = set()
    for index, node in enumerate(view.nodes):
        inputs = view.float_inputs(index)
        learned = any(name in view.weights for name in inputs)
        moved = any(name in features for name in inputs)
        if node.op_type in HEAVY and (node.op_type != "MatMul" or learned or moved):
            heavy.add(index)
        # A weight that is moved is a learned feature, one that is computed with not.
        if (
            index in heavy
            or moved
            or (node.op_type in MOVING and _learned(view, index))
        ):
            features.update(view.float_outputs(index))
    return heavy


def _learned(view: GraphView, index: int) -> bool:
    """Tell whether a node reads weights and no other float32."""
    return bool(view.float_inputs(index)) and not view.activations(index)


def _never(view: GraphView) -> dict[int, str]:
    return {
        index: reason
        for index, node in enumerate(view.nodes)
        if view.float_inputs(index) or view.float_outputs(index)
        if (reason := kept_reason(node.op_type))
    }


def _weight_reasons(view: GraphView) -> dict[int, str]:
    """Return the nodes with weights that half cannot hold."""
    reasons: dict[int, str] = {}
    for name, values in view.weights.items():
        if not view.is_float(name) or not (reason := _weight_reason(name, values)):
            continue
        reasons.update(
            (index, reason)
            for index in view.consumers.get(name, ())
            if name in view.float_inputs(index)
        )
    return reasons


def _weight_reason(name: str, values: np.ndarray) -> str | None:
    top = largest(values)
    if top > _HALF_MAX:
        return f"weights: max |{name}| = {top:.3g} is beyond half's range"
    loss = largest(values - values.astype(np.float16).astype(np.float32))
    if loss > _WEIGHT_LOSS * top:
        return f"weights: max |{name}| = {top:.3g} is below half's range"
    return None


def _decisions(view: GraphView, heavy: Collection[int]) -> dict[int, str]:
    """Return what lies before the first and behind the last heavy node."""
    reasons = _input_arithmetic(view, heavy)
    for index in range(len(view.nodes)):
        if view.float_inputs(index) and len(view.float_outputs(index)) < sum(
            map(bool, view.nodes[index].output)
        ):
            before = _before(view, [index], heavy)
            _merge(reasons, dict.fromkeys(_behind(view, before, heavy), _COORDINATE))
    for name in view.outputs:
        if view.is_float(name) and name in view.producer:
            last = _before(view, [view.producer[name]], heavy)
            _merge(reasons, dict.fromkeys(sorted(last), f"computes output {name!r}"))
    return reasons


def _input_arithmetic(view: GraphView, heavy: Collection[int]) -> dict[int, str]:
    """Return the nodes that only graph inputs and integers reach."""
    reached: set[str] = set()
    reasons: dict[int, str] = {}
    for index in range(len(view.nodes)):
        if index in heavy or not view.float_outputs(index):
            continue
        names = view.activations(index)
        raw = all(name in reached or name not in view.producer for name in names)
        if raw and not _learned(view, index):
            reached.update(view.float_outputs(index))
            reasons[index] = _INPUT
    return reasons


def _before(view: GraphView, start: Iterable[int], heavy: Collection[int]) -> set[int]:
    """Return what leads to `start` without passing a heavy node, `start` included."""
    found: set[int] = set()
    waiting = [index for index in start if index not in heavy]
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting.extend(i for i in view.sources(index) if i not in heavy)
    return found


def _behind(view: GraphView, start: Iterable[int], heavy: Collection[int]) -> list[int]:
    """Return what `start` leads to without passing a heavy node, in graph order."""
    found: set[int] = set()
    waiting = list(start)
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting.extend(i for i in view.readers(index) if i not in heavy)
    return sorted(found)


def _last_maps(
    view: GraphView, heavy: Collection[int], reasons: Mapping[int, str]
) -> dict[int, str]:
    """Return the linear maps whose result is a decision or a coordinate at once.

    They are small, and their result needs no rounding: it is used in float32.
    """
    return {
        index: "its result is a decision or a coordinate"
        for index in heavy
        if view.nodes[index].op_type in LINEAR
        and any(name in view.weights for name in view.float_inputs(index))
        and _is_last(view, index, reasons)
    }


def _is_last(view: GraphView, index: int, reasons: Mapping[int, str]) -> bool:
    readers = list(view.readers(index))
    outputs = any(name in view.outputs for name in view.float_outputs(index))
    return (outputs or bool(readers)) and all(reader in reasons for reader in readers)


def _range_reasons(
    view: GraphView, plan: Plan, maxima: Mapping[str, float]
) -> dict[int, str]:
    reasons: dict[int, str] = {}
    for name, top in maxima.items():
        if 0 < top < _FLOOR:
            reason = f"range: max |x| = {top:.3g} is below {_FLOOR:.3g}"
        elif not top <= LIMIT:
            reason = f"range: max |x| = {top:.3g} is above {LIMIT:.3g}"
        else:
            continue
        _merge(reasons, dict.fromkeys(_touching(view, name), reason))
    for index in sorted(plan.half):
        loss = _cancellation(view, index, maxima)
        if loss > _CANCELLATION:
            reason = f"range: a sum {loss:.3g} times smaller than its terms"
            _merge(reasons, {index: reason})
            for name in view.activations(index):
                _merge(reasons, dict.fromkeys(_origins(view, name), reason))
    return reasons


def _touching(view: GraphView, tensor: str) -> list[int]:
    makers = [view.producer[tensor]] if tensor in view.producer else []
    return makers + list(view.consumers.get(tensor, ()))


def _cancellation(view: GraphView, index: int, maxima: Mapping[str, float]) -> float:
    """Return how much larger the terms of a sum are than the sum; 0: no sum."""
    node = view.nodes[index]
    if node.op_type not in ("Add", "Sub", "Sum"):
        return 0.0
    sum_ = maxima.get(node.output[0], 0.0)
    terms = max(
        (maxima.get(name, 0.0) for name in view.activations(index)), default=0.0
    )
    return terms / sum_ if sum_ > 0 else 0.0


def _origins(view: GraphView, tensor: str) -> set[int]:
    """Return the nodes that compute a tensor, through scaling and copying, not further.

    A scaled copy has the rounding of what was scaled.
    """
    found: set[int] = set()
    waiting = [view.producer[tensor]] if tensor in view.producer else []
    while waiting:
        index = waiting.pop()
        if index in found:
            continue
        found.add(index)
        if view.nodes[index].op_type in EXACT | {"Mul"}:
            waiting.extend(view.sources(index))
    return found


def _resolved(view: GraphView, reasons: Mapping[int, str]) -> Plan:
    """Settle every node in graph order: what moves values follows what it moves."""
    half: set[int] = set()
    kept: dict[int, str] = {}
    half_tensors: set[str] = set()
    for index, node in enumerate(view.nodes):
        if not view.float_outputs(index) and not view.float_inputs(index):
            continue
        names = view.activations(index)
        reason = reasons.get(index)
        if node.op_type in MOVING and names:
            fits = all(name in half_tensors for name in names)
            reason = None if fits else reason or _FOLLOWS
        elif reason is None and node.op_type not in HEAVY and names:
            reason = None if any(n in half_tensors for n in names) else _FOLLOWS
        if reason is None:
            half.add(index)
            half_tensors.update(view.float_outputs(index))
        else:
            kept[index] = reason
    return Plan(half=frozenset(half), kept=kept)
