"""A bundle on disk: complete, or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from spinert.export.checkpoints.reader import sha256_from_file
from spinert.export.errors import DestinationError
from spinert.proto import bundle_pb2 as pb
from spinert.proto.bundle_directory import (
    MANIFEST,
    manifest_text,
    occupied,
    staged_directory,
)

__all__ = [
    "creation_time",
    "package_versions",
    "staged",
    "write_golden_image",
    "write_index",
    "write_outputs",
]

_PACKAGES: Final = (
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pillow",
    "protobuf",
    "safetensors",
    "torch",
)


def creation_time() -> str:
    """Return now, or SOURCE_DATE_EPOCH (reproducible-builds.org), in RFC 3339."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is not None and not epoch.isdecimal():
        raise DestinationError("SOURCE_DATE_EPOCH: must be whole seconds since 1970")
    now = (
        datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    )
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide what an export computes."""
    return {name: version(name) for name in _PACKAGES}


@contextmanager
def staged(directory: Path, *, replace: bool) -> Iterator[Path]:
    """Give a temporary folder beside `directory` that takes its place at the end.

    Owns the folder: it is gone after an exception, and `directory` is untouched.

    Raises:
        DestinationError: `directory` holds something that must not be replaced, or
            cannot be written, or there is no room.
    """
    if why := occupied(directory, replace=replace):
        raise DestinationError(f"{directory}: {why}")
    try:
        with staged_directory(directory) as fresh:
            yield fresh
    except OSError as error:
        reason = error.strerror or "no reason given"
        message = f"cannot be written: {reason}; make room or name another directory"
        raise DestinationError(f"{directory}: {message}") from error


def write_golden_image(path: Path, stored: npt.NDArray[np.uint16]) -> None:
    """Write stored values (rows, columns) as a 16-bit grey PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stored).save(path, format="PNG")


def write_outputs(path: Path, outputs: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write one frame's reference outputs under the graph's output names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **outputs)


def write_index(bundle: pb.Bundle, folder: Path) -> None:
    """List and hash every file of the folder, then write bundle.json beside them."""
    del bundle.files[:]
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        bundle.files.add(
            path=path.relative_to(folder).as_posix(),
            bytes=path.stat().st_size,
            sha256=sha256_from_file(path),
        )
    (folder / MANIFEST).write_text(manifest_text(bundle), encoding="utf-8")
