"""Lay a recipe's `[bundle]` tables over a `Bundle`, and check what results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message

from spinert.export.errors import RecipeError
from spinert.export.options import MAX_TOP_K
from spinert.proto import bundle_pb2 as pb

__all__ = ["check_network", "check_selection", "override"]

# What a bundle says about itself is measured or follows from the recipe's other
# tables; an override would be a lie.
_DERIVED: Final = {
    "bundle": {"files", "format", "golden", "provenance"},
    "network": {
        "architecture",
        "deviations",
        "forms",
        "import_options",
        "members",
        "operators",
        "output",
        "parity",
        "precision",
        "split",
    },
}


def _derived(message: Message) -> set[str]:
    if isinstance(message, pb.Bundle):
        return _DERIVED["bundle"]
    return _DERIVED["network"] if isinstance(message, pb.Network) else set()


def override(message: Message, values: Mapping[str, Any], where: str) -> None:
    """Merge protobuf JSON into a message, in place.

    Messages and entries of maps are merged; scalars and lists are replaced; setting
    one member of a oneof clears the others.

    Raises:
        RecipeError: A field is unknown, derived, or the value does not fit it.
    """
    for key, value in values.items():
        path = f"{where}.{key}"
        if key not in message.DESCRIPTOR.fields_by_name:
            known = ", ".join(sorted(message.DESCRIPTOR.fields_by_name))
            raise RecipeError(f"{path}: no such field; known here: {known}")
        if key in _derived(message):
            raise RecipeError(f"{path}: is derived, not chosen; remove it")
        current = getattr(message, key)
        if isinstance(current, Message):
            current.SetInParent()
            override(current, _table(value, path), path)
        elif hasattr(current, "GetEntryClass"):
            for role, entry in _table(value, path).items():
                if role not in current:
                    names = ", ".join(sorted(current))
                    message_ = f"{path}.{role}: no such entry; there are {names}"
                    raise RecipeError(message_)
                override(current[role], _table(entry, path), f"{path}.{role}")
        else:
            _set(message, key, value, path)


def _table(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RecipeError(f"{path}: must be a table")
    return value


def _set(message: Message, key: str, value: object, path: str) -> None:
    message.ClearField(key)
    try:
        json_format.ParseDict({key: value}, message)
    except json_format.ParseError as error:
        raise RecipeError(f"{path}: {value!r} does not fit this field") from error


def _check_canvas(canvas: pb.CanvasPolicy, stride: int, where: str) -> None:
    kind = canvas.WhichOneof("kind") or ""
    lengths = getattr(canvas, kind)
    names = set(lengths.DESCRIPTOR.fields_by_name) - {"rounding"}
    padded = names & {"pad_multiple"} or names
    if any(getattr(lengths, name) % stride for name in padded):
        message = f"{where}.{kind}: this network needs multiples of {stride}"
        raise RecipeError(message)


def _check_input(network_input: pb.NetworkInput, where: str) -> None:
    for name in ("mean", "std", "fill"):
        if len(getattr(network_input, name)) != 3:
            raise RecipeError(f"{where}.{name}: give three values, one per channel")


def check_network(network: pb.Network, *, role: str, stride: int) -> None:
    """Check that a network as stated can be exported.

    Args:
        network: After overrides; breaks none of `proto/bundle_rules.py`.
        role: "classifier" or "detector".
        stride: Padded heights and widths must be multiples of this.

    Raises:
        RecipeError: A value is impossible or outside what export supports.
    """
    where = f"bundle.networks.{role}"
    _check_input(network.input, f"{where}.input")
    _check_canvas(network.input.canvas, stride, f"{where}.input.canvas")
    is_detector = network.output == pb.OUTPUT_CANDIDATES
    if network.input.takes_image_size != is_detector:
        message = "true for a detector, false for a classifier"
        raise RecipeError(f"{where}.input.takes_image_size: {message}")
    if PurePosixPath(network.file).suffix != ".onnx":
        raise RecipeError(f"{where}.file: a path that ends in .onnx")


def check_selection(detector: pb.Network, available: int) -> None:
    """Check that a graph can choose this many of `available` candidates.

    Raises:
        RecipeError: There are fewer, or more than TensorRT's TopK layer selects.
    """
    count = detector.detection.candidates
    where = "bundle.networks.detector.detection.candidates"
    if count > available:
        raise RecipeError(f"{where}: the detector returns only {available}")
    if MAX_TOP_K < count < available:
        raise RecipeError(f"{where}: up to {MAX_TOP_K}, or 0 for all {available}")
