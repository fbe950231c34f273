"""Tensors that an ONNX file keeps in other files: taken in, or refused.

source: onnx/onnx docs/ExternalData.md (keys `location`, `offset`, `length`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

import onnx

from spinert.export.errors import CheckpointError

__all__ = ["embedded"]

_MAX_BYTES: Final = 2**31 - 1
"""Of one protobuf message."""


def _tensors_of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _tensors_of_node(node)


def _tensors_of_node(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        yield from attribute.tensors
        if attribute.HasField("t"):
            yield attribute.t
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors_of_graph(graph)


def _tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor of a model, also of its subgraphs and functions."""
    yield from _tensors_of_graph(model.graph)
    for training in model.training_info:
        yield from _tensors_of_graph(training.initialization)
        yield from _tensors_of_graph(training.algorithm)
    for function in model.functions:
        for node in function.node:
            yield from _tensors_of_node(node)


def _is_plain(location: str) -> bool:
    paths = PurePosixPath(location), PureWindowsPath(location)
    outside = any(p.is_absolute() or p.drive or ".." in p.parts for p in paths)
    return bool(location) and location.isprintable() and not outside


def _linked(folder: Path, location: str) -> bool:
    """Tell whether a part of the path is a symbolic link, or the file a hard link."""
    path = folder
    for part in PurePosixPath(location).parts:
        path = path / part
        if path.is_symlink():
            return True
    return path.is_file() and path.stat().st_nlink != 1


def _opened(folder: Path, location: str, where: str) -> int:
    """Return a descriptor of a regular file inside the folder; the caller closes."""
    if not _is_plain(location):
        message = f"{where} is outside the folder of the ONNX file"
        raise CheckpointError(f"{message}; export it as one file")
    if _linked(folder, location):
        message = f"{where} is a link; put the file itself beside the ONNX file"
        raise CheckpointError(message)
    try:
        # A link that is put there after the check is not followed either, and a pipe
        # is not waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(folder / location, flags)
    except OSError as error:
        message = f"{where} cannot be read; copy it beside the ONNX file"
        raise CheckpointError(message) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CheckpointError(f"{where} is no regular file; export it as one file")
    return descriptor


def _whole(text: str, default: int, where: str) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise CheckpointError(f"{where} has no valid place; export the file again")
    return int(text)


def _embed(tensor: Any, folder: Path, name: str) -> str:
    """Put a tensor's bytes into it; return the file they came from."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location: str = entries.get("location", "")
    where = f"{name}: external data {location[:80]!r} of tensor {tensor.name!r}"
    with os.fdopen(_opened(folder, location, where), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        offset = _whole(entries.get("offset", ""), 0, where)
        length = _whole(entries.get("length", ""), max(0, size - offset), where)
        if offset + length > size:
            raise CheckpointError(f"{where} is cut off; copy the file again")
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.DEFAULT
    return location


def embedded(model: Any, folder: Path, name: str) -> tuple[str, ...]:
    """Move tensors from files beside an ONNX file into the model, in place.

    Args:
        model: `onnx.ModelProto`, read without external data.
        folder: Where the ONNX file is; data must lie in it, or below.
        name: Of the ONNX file, for messages.

    Returns:
        The files that were read, relative to the folder; sorted.

    Raises:
        CheckpointError: Data lie elsewhere (absolute, `..`), behind a link, are
            missing or cut off.
    """
    found, total = set(), 0
    for tensor in _tensors(model):
        if tensor.external_data or tensor.data_location != onnx.TensorProto.DEFAULT:
            found.add(_embed(tensor, folder, name))
            total += len(tensor.raw_data)
        # Many tensors of a small file can be the same bytes of a large one.
        if total > _MAX_BYTES:
            message = f"{name}: with its external data larger than 2 GiB"
            raise CheckpointError(f"{message}; no single ONNX file can be")
    return tuple(sorted(found))
