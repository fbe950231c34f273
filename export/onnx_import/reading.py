"""Read an ONNX file of unknown origin, and check what can be checked unrun."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
from google.protobuf.message import DecodeError
from onnx import checker, inliner, version_converter

from spinert.export.errors import CheckpointError, GraphError
from spinert.export.onnx_import.external_data import embedded

__all__ = ["ReadModel", "at_opset", "model_from_file", "nodes_from_graph"]

MIN_OPSET: Final = 13
"""Older files are converted: operators differ too much before."""
TARGET_OPSET: Final = 18
_MAX_BYTES: Final = 2**31 - 1
"""Of one protobuf message."""
_STANDARD: Final = frozenset(("", "ai.onnx"))


@dataclass(frozen=True, kw_only=True)
class ReadModel:
    """A self-contained model with standard operators only; never modified."""

    name: str
    """Of the file, for messages."""
    model: Any
    """`onnx.ModelProto`."""
    opset: int
    notes: tuple[str, ...]
    """What had to be done to it."""


def nodes_from_graph(graph: Any) -> Iterator[Any]:
    """Yield every node, also those of subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_from_graph(inner)


def _parsed(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{path.name}: no such file; check the recipe's path")
    if path.stat().st_size > _MAX_BYTES:
        raise CheckpointError(f"{path.name}: larger than 2 GiB; no ONNX file can be")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, OSError, ValueError) as error:
        message = f"{path.name}: damaged or not an ONNX file; copy it again"
        raise CheckpointError(message) from error
    if not model.graph.node or not model.opset_import:
        raise CheckpointError(f"{path.name}: not an ONNX file; copy it again")
    return model


def _refuse_custom_operators(model: Any, name: str) -> None:
    for node in nodes_from_graph(model.graph):
        if node.domain not in _STANDARD:
            message = (
                f"{name}: node {node.name!r} is the custom operator "
                f"{node.domain}.{node.op_type}; export with standard operators only"
            )
            raise GraphError(message)


def _opset(model: Any, name: str) -> int:
    versions = [e.version for e in model.opset_import if e.domain in _STANDARD]
    if not versions:
        raise GraphError(f"{name}: states no opset; export it again")
    return int(versions[0])


def at_opset(model: Any, name: str, target: int) -> Any:
    """Return a model with the operators of another opset.

    Raises:
        GraphError: One of them cannot be converted.
    """
    opset = _opset(model, name)
    if opset == target:
        return model
    try:
        return version_converter.convert_version(model, target)
    except Exception as error:  # the converter raises whatever its C++ core throws
        message = f"opset {opset} cannot be converted to {target}"
        raise GraphError(f"{name}: {message}; export it again with that") from error


def _check(model: Any, name: str) -> None:
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        message = f"{name}: breaks the ONNX standard; onnx.checker tells where"
        raise GraphError(message) from error


def model_from_file(path: Path) -> ReadModel:
    """Return a model that is complete, standard and of a usable opset.

    External data beside the file are taken in; local functions are inlined. Nothing
    is executed.

    Raises:
        CheckpointError: The file is missing, damaged, or its data lie elsewhere.
        GraphError: It has custom operators or breaks the ONNX standard.
    """
    model = _parsed(path)
    files = embedded(model, path.resolve().parent, path.name)
    notes = [f"external data {file} were taken in" for file in files]
    if model.functions:
        model = inliner.inline_local_functions(model)
    _refuse_custom_operators(model, path.name)
    opset = _opset(model, path.name)
    if opset < MIN_OPSET:
        model = at_opset(model, path.name, TARGET_OPSET)
        notes.append(f"opset {opset} was converted to {TARGET_OPSET}")
        opset = TARGET_OPSET
    _check(model, path.name)
    return ReadModel(name=path.name, model=model, opset=opset, notes=tuple(notes))
