"""From what an ONNX file answers to logits or candidates, in ONNX operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from spinert.export.errors import RecipeError
from spinert.export.onnx_import.mapping import ClassifierMapping, DetectorMapping
from spinert.export.onnx_import.nodes import Nodes

__all__ = ["Answer", "Candidates", "candidate_values", "kept", "logit_value"]

_CLIP: Final = 1e-6
"""Probabilities are kept this far from 0 and 1 before they become logits."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The outputs of a file: names in the joined graph, and shapes as seen."""

    file: str
    """For messages."""
    names: Mapping[str, str]
    """The file's own name to the name in the joined graph."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of each output for one frame, with the batch axis; the file's own names."""

    def output(self, name: str, key: str) -> tuple[str, tuple[int, ...]]:
        """Return name in the joined graph and shape of one output.

        Raises:
            RecipeError: There is none of this name, or none is named and there are
                several.
        """
        own = name or (next(iter(self.names)) if len(self.names) == 1 else "")
        if own not in self.names:
            shown = ", ".join(f"{n} {list(s)}" for n, s in self.shapes.items())
            message = f"{self.file}: mapping.{key} names one of its outputs: {shown}"
            raise RecipeError(message)
        return self.names[own], self.shapes[own]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Names of values: boxes (N,A,4), scores (N,A), labels (N,A)."""

    boxes: str
    scores: str
    labels: str
    count: int
    """A, for the frame that was seen."""


# ---------------------------------------------------------------- classifier


def _log_odds(nodes: Nodes, probability: str, other: str | None) -> str:
    low, high = (nodes.constant(n, np.float32) for n in (_CLIP, 1 - _CLIP))
    clipped = nodes.add("Clip", probability, low, high)
    if other is None:
        rest = nodes.add("Sub", nodes.constant(1, np.float32), clipped)
    else:
        rest = nodes.add("Clip", other, low, high)
    return nodes.add("Log", nodes.add("Div", clipped, rest))


def logit_value(nodes: Nodes, mapping: ClassifierMapping, answer: Answer) -> str:
    """Append what makes one logit (N,1) of a classifier's answer.

    Raises:
        RecipeError: The answer has another length than the mapping says.
    """
    value, shape = answer.output(mapping.output, "output")
    two = mapping.meaning.startswith("two_")
    length = int(np.prod(shape[1:]))
    if length != (2 if two else 1):
        message = f"output has {length} values per frame, not {2 if two else 1}"
        raise RecipeError(f"{answer.file}: {message} as meaning = {mapping.meaning!r}")
    value = nodes.reshape(nodes.floats(value), (-1, length))
    first, other = value, None
    if two:
        place = mapping.abnormal
        first = nodes.slice(value, place, place + 1, 1)
        other = nodes.slice(value, 1 - place, 2 - place, 1)
    if mapping.meaning.endswith(("probability", "probabilities")):
        return _log_odds(nodes, first, other)
    return first if other is None else nodes.add("Sub", first, other)


# ------------------------------------------------------------------ detector


def _corners(nodes: Nodes, boxes: str) -> str:
    centre, edges = nodes.slice(boxes, 0, 2, 2), nodes.slice(boxes, 2, 4, 2)
    half = nodes.add("Mul", edges, nodes.constant(0.5, np.float32))
    low, high = nodes.add("Sub", centre, half), nodes.add("Add", centre, half)
    return nodes.add("Concat", low, high, axis=2)


def _in_pixels(nodes: Nodes, boxes: str, unit: str) -> str:
    """Scale fractions of the padded input, or of the image in it."""
    if unit == "pixels":
        return boxes
    if unit == "image":
        order = nodes.constant([1, 0, 1, 0], np.int64)
        size = nodes.add("Gather", nodes.floats("image_size"), order, axis=1)
        scale = nodes.reshape(size, (-1, 1, 4))
    else:
        order = nodes.constant([3, 2, 3, 2], np.int64)
        shape = nodes.add("Gather", nodes.add("Shape", "image"), order, axis=0)
        scale = nodes.reshape(nodes.floats(shape), (1, 1, 4))
    return nodes.add("Mul", boxes, scale)


def _boxes(nodes: Nodes, mapping: DetectorMapping, raw: str) -> str:
    boxes = raw if mapping.is_corners else _corners(nodes, raw)
    return _in_pixels(nodes, boxes, mapping.box_unit)


def _probabilities(nodes: Nodes, mapping: DetectorMapping, scores: str) -> str:
    is_logits = mapping.score_kind == "logits"
    return nodes.add("Sigmoid", scores) if is_logits else scores


def _from_classes(
    nodes: Nodes, mapping: DetectorMapping, boxes: str, scores: str, shape: list[int]
) -> Candidates:
    """Choose labels; `scores` (N,A,C) are probabilities without background."""
    count, classes = shape
    if not mapping.multi_label:
        best, index = nodes.top(scores, 1, 2)
        flat = [nodes.reshape(value, (0, -1)) for value in (best, index)]
        return Candidates(boxes=boxes, scores=flat[0], labels=flat[1], count=count)
    # A box for each of its classes, behind each other.
    repeated = nodes.add("Unsqueeze", boxes, nodes.constant([2], np.int64))
    spread = nodes.add("Expand", repeated, nodes.constant([1, 1, classes, 1], np.int64))
    numbers = nodes.constant(np.arange(classes)[None, None], np.int64)
    labels = nodes.add("Expand", numbers, nodes.add("Shape", scores))
    return Candidates(
        boxes=nodes.reshape(spread, (0, -1, 4)),
        scores=nodes.reshape(scores, (0, -1)),
        labels=nodes.reshape(labels, (0, -1)),
        count=count * classes,
    )


def _foreground(
    nodes: Nodes, mapping: DetectorMapping, scores: str, classes: int
) -> str:
    """Drop the background's column of (N,A,C+1)."""
    if mapping.background == "none":
        return scores
    first = 1 if mapping.background == "first" else 0
    return nodes.slice(scores, first, first + classes, 2)


def _columns(mapping: DetectorMapping, classes: int) -> int:
    return classes + (mapping.background != "none")


def _dense(
    nodes: Nodes, mapping: DetectorMapping, answer: Answer, classes: int
) -> Candidates:
    value, shape = answer.output(mapping.boxes, "boxes")
    start = 5 if mapping.objectness else 4
    width = start + _columns(mapping, classes)
    if len(shape) != 3 or shape[3 - mapping.boxes_axis] != width:
        message = (
            f"{answer.file}: output is {list(shape)}; {classes} classes with "
            f"boxes_axis = {mapping.boxes_axis} need {width} values per box: check "
            "boxes_axis, objectness and [bundle] classes"
        )
        raise RecipeError(message)
    value = nodes.floats(value)
    if mapping.boxes_axis == 2:
        value = nodes.add("Transpose", value, perm=[0, 2, 1])
    scores = _probabilities(nodes, mapping, nodes.slice(value, start, width, 2))
    if mapping.objectness:
        seen = _probabilities(nodes, mapping, nodes.slice(value, 4, 5, 2))
        scores = nodes.add("Mul", scores, seen)
    scores = _foreground(nodes, mapping, scores, classes)
    boxes = _boxes(nodes, mapping, nodes.slice(value, 0, 4, 2))
    count = shape[mapping.boxes_axis]
    return _from_classes(nodes, mapping, boxes, scores, [count, classes])


def _labelled(
    nodes: Nodes, mapping: DetectorMapping, values: tuple[str, str, str], count: int
) -> Candidates:
    """Take boxes, scores and labels; background gets score 0 and label 0."""
    raw, scores, labels = values
    boxes = _boxes(nodes, mapping, raw)
    scores = _probabilities(nodes, mapping, scores)
    labels = nodes.integers(labels)
    if mapping.label_base:
        base = nodes.constant(mapping.label_base, np.int64)
        labels = nodes.add("Sub", labels, base)
    return Candidates(boxes=boxes, scores=scores, labels=labels, count=count)


def _without_background(
    nodes: Nodes, mapping: DetectorMapping, found: Candidates, classes: int
) -> Candidates:
    if mapping.background == "none":
        return found
    if mapping.background == "first":
        is_finding = nodes.add(
            "GreaterOrEqual", found.labels, nodes.constant(0, np.int64)
        )
    else:
        is_finding = nodes.add("Less", found.labels, nodes.constant(classes, np.int64))
    zero, none = nodes.constant(0, np.int64), nodes.constant(0, np.float32)
    return Candidates(
        boxes=found.boxes,
        scores=nodes.add("Where", is_finding, found.scores, none),
        labels=nodes.add("Where", is_finding, found.labels, zero),
        count=found.count,
    )


def _rows(
    nodes: Nodes, mapping: DetectorMapping, answer: Answer, classes: int
) -> Candidates:
    value, shape = answer.output(mapping.boxes, "boxes")
    if len(shape) != 3 or shape[2] != 6:
        message = f"output is {list(shape)}; rows are (N,K,6)"
        raise RecipeError(f"{answer.file}: {message}; check mapping.head")
    value = nodes.floats(value)
    score, label = (
        nodes.reshape(nodes.slice(value, place, place + 1, 2), (0, -1))
        for place in (4, 5)
    )
    values = (nodes.slice(value, 0, 4, 2), score, label)
    found = _labelled(nodes, mapping, values, shape[1])
    return _without_background(nodes, mapping, found, classes)


def _separate(
    nodes: Nodes, mapping: DetectorMapping, answer: Answer, classes: int
) -> Candidates:
    raw, shape = answer.output(mapping.boxes, "boxes")
    raw = nodes.floats(raw)
    scores, found = answer.output(mapping.scores, "scores")
    if len(shape) != 3 or shape[2] != 4:
        raise RecipeError(f"{answer.file}: boxes are {list(shape)}, not (N,A,4)")
    if mapping.labels:
        labels, _ = answer.output(mapping.labels, "labels")
        values = (raw, nodes.floats(scores), labels)
        labelled = _labelled(nodes, mapping, values, shape[1])
        return _without_background(nodes, mapping, labelled, classes)
    columns = _columns(mapping, classes)
    if len(found) != 3 or found[1:] != (shape[1], columns):
        message = f"scores are {list(found)}, not [1, {shape[1]}, {columns}]"
        raise RecipeError(
            f"{answer.file}: {message}; name labels, or check [bundle] classes"
        )
    values_ = _probabilities(nodes, mapping, nodes.floats(scores))
    values_ = _foreground(nodes, mapping, values_, classes)
    boxes = _boxes(nodes, mapping, raw)
    return _from_classes(nodes, mapping, boxes, values_, [shape[1], classes])


_HEADS: Final = {"dense": _dense, "rows": _rows, "separate": _separate}


def candidate_values(
    nodes: Nodes, mapping: DetectorMapping, answer: Answer, classes: int
) -> Candidates:
    """Append what makes candidates of a detector's answer.

    Raises:
        RecipeError: The answer has not the shape that the mapping says.
    """
    return _HEADS[mapping.head](nodes, mapping, answer, classes)


def kept(nodes: Nodes, found: Candidates, keep: int) -> Candidates:
    """Append the choice of the `keep` best candidates of each frame."""
    best, index = nodes.top(found.scores, keep, 1)
    return Candidates(
        boxes=nodes.gather_boxes(found.boxes, index),
        scores=best,
        labels=nodes.add("GatherElements", found.labels, index, axis=1),
        count=keep,
    )
