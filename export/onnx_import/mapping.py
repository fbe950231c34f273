"""What a recipe declares of an ONNX file's inputs and outputs: `[x.mapping]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from types import MappingProxyType
from typing import Any, Final, TypeVar

from spinert.export.errors import RecipeError

__all__ = [
    "ClassifierMapping",
    "DetectorMapping",
    "classifier_mapping",
    "detector_mapping",
]

M = TypeVar("M", "ClassifierMapping", "DetectorMapping")

_LAYOUTS: Final = ("nchw", "nhwc")
_CHOICES: Final[Mapping[str, tuple[object, ...]]] = MappingProxyType(
    {
        "background": ("none", "first", "last"),
        "box_format": ("cxcywh", "xyxy"),
        "box_unit": ("pixels", "input", "image"),
        "boxes_axis": (1, 2),
        "head": ("dense", "rows", "separate"),
        "image_size_order": ("height_width", "width_height"),
        "label_base": (0, 1),
        "layout": _LAYOUTS,
        "meaning": ("logit", "two_logits", "probability", "two_probabilities"),
        "score_kind": ("probabilities", "logits"),
    }
)


@dataclass(frozen=True, kw_only=True)
class ClassifierMapping:
    """How to read a classifier's answer as one logit of "abnormal"."""

    output: str = ""
    """Name; empty: the only one."""
    meaning: str = "logit"
    """`logit`; `two_logits` before a softmax; `probability` after a sigmoid;
    `two_probabilities` after a softmax."""
    abnormal: int = 1
    """Which of two stands for abnormal."""
    input: str = ""
    """Name of the image; empty: the only input."""
    layout: str = "nchw"
    """Or `nhwc`."""


@dataclass(frozen=True, kw_only=True)
class DetectorMapping:
    """How to read a detector's answer as boxes, scores and labels.

    `head` says what its outputs are:

    * `dense`: `boxes` is one output of boxes and class scores side by side, four
      numbers, then perhaps the objectness, then one score per class (YOLO);
    * `rows`: `boxes` is one output (N,K,6) of x_min, y_min, x_max, y_max, score,
      label, as exports with suppression inside have it;
    * `separate`: `boxes` (N,A,4), `scores` (N,A) with `labels` (N,A), or `scores`
      (N,A,C) without.
    """

    head: str
    boxes: str = ""
    """Name of the output; empty: the only one."""
    scores: str = ""
    labels: str = ""
    boxes_axis: int = 2
    """`dense`: the axis that counts the boxes, 2 in (N,4+C,A), 1 in (N,A,4+C)."""
    objectness: bool = False
    """`dense`: a fifth number that multiplies the class scores."""
    box_format: str = ""
    """`cxcywh` or `xyxy`; empty: `cxcywh` for dense, `xyxy` otherwise."""
    box_unit: str = "pixels"
    """Of the network's input; or fractions of the padded `input` or of the `image`."""
    score_kind: str = "probabilities"
    """Or `logits`, which still need a sigmoid."""
    multi_label: bool = False
    """A candidate for every class of a box, not only for its best."""
    label_base: int = 0
    """The number of the first class in `labels`."""
    background: str = "none"
    """A class that is no finding: the `first` or the `last`."""
    input: str = ""
    """Name of the image; empty: the only input that is no image size."""
    layout: str = "nchw"
    """Or `nhwc`."""
    image_size: str = ""
    """Name of the input that takes the size of each image, if there is one."""
    image_size_order: str = "height_width"

    @property
    def is_corners(self) -> bool:
        """Whether boxes are x_min, y_min, x_max, y_max."""
        return (self.box_format or _FORMAT_OF_HEAD[self.head]) == "xyxy"


_FORMAT_OF_HEAD: Final[Mapping[str, str]] = MappingProxyType(
    {"dense": "cxcywh", "rows": "xyxy", "separate": "xyxy"}
)
# What only some heads have; set with another head, it would be ignored silently.
_ONLY_WITH: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "scores": ("separate",),
        "labels": ("separate",),
        "boxes_axis": ("dense",),
        "objectness": ("dense",),
        "multi_label": ("dense", "separate"),
        "label_base": ("rows", "separate"),
    }
)


def _parsed(kind: type[M], values: Mapping[str, Any], where: str) -> M:
    known = {field.name: field for field in fields(kind)}
    for key, value in values.items():
        if key not in known:
            names = ", ".join(sorted(known))
            raise RecipeError(f"{where}: no key {key!r}; one of {names}")
        expected = known[key].type
        if type(value).__name__ != expected:
            raise RecipeError(f"{where}.{key}: must be of type {expected}")
        choices = _CHOICES.get(key)
        if choices and value not in choices:
            shown = ", ".join(str(choice) for choice in choices)
            raise RecipeError(f"{where}.{key}: is one of {shown}")
    missing = [
        name
        for name, field in known.items()
        if field.default is MISSING and name not in values
    ]
    if missing:
        shown = ", ".join(str(choice) for choice in _CHOICES[missing[0]])
        raise RecipeError(f"{where}: {missing[0]!r} is missing; one of {shown}")
    return kind(**values)


def classifier_mapping(values: Mapping[str, Any], where: str) -> ClassifierMapping:
    """Read a `[classifier.mapping]` table.

    Raises:
        RecipeError: A key or value is unknown.
    """
    mapping = _parsed(ClassifierMapping, values, where)
    if mapping.abnormal not in (0, 1):
        raise RecipeError(f"{where}.abnormal: is 0 or 1, the place among two")
    return mapping


def detector_mapping(values: Mapping[str, Any], where: str) -> DetectorMapping:
    """Read a `[detector.mapping]` table.

    Raises:
        RecipeError: A key or value is unknown, or has no meaning for this head.
    """
    mapping = _parsed(DetectorMapping, values, where)
    for key in values:
        heads = _ONLY_WITH.get(key, (mapping.head,))
        if mapping.head not in heads:
            message = f"has no meaning for head = {mapping.head!r}; remove it"
            raise RecipeError(f"{where}.{key}: {message}")
    if mapping.head == "separate" and not (mapping.boxes and mapping.scores):
        raise RecipeError(f"{where}: a separate head names boxes and scores")
    return mapping
