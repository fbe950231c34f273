"""A bundle on disk: complete, or not there at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from google.protobuf import json_format
from PIL import Image

from spinert.export.checkpoints.reader import sha256_from_file
from spinert.export.errors import DestinationError
from spinert.proto import bundle_pb2 as pb

__all__ = [
    "INDEX",
    "creation_time",
    "package_versions",
    "staged",
    "write_golden_image",
    "write_index",
    "write_outputs",
]

INDEX: Final = "bundle.json"
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


def _check_target(directory: Path, *, replace: bool) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise DestinationError(f"{directory}: is a file; name a directory")
    if not any(directory.iterdir()):
        return
    if not (directory / INDEX).is_file():
        message = f"{directory}: exists and is not a bundle; name another directory"
        raise DestinationError(message)
    if not replace:
        message = f"{directory}: a bundle is there; remove it or ask to replace it"
        raise DestinationError(message)


@contextmanager
def staged(directory: Path, *, replace: bool) -> Iterator[Path]:
    """Give a temporary folder beside `directory` that takes its place at the end.

    Owns the folder: it is gone after an exception, and `directory` is untouched.

    Raises:
        DestinationError: `directory` holds something that must not be replaced, or
            cannot be written, or there is no room.
    """
    _check_target(directory, replace=replace)
    prefix = f".{directory.name}."
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=prefix) as outer:
            fresh = Path(outer) / "new"
            fresh.mkdir()
            yield fresh
            _swap(directory, fresh, Path(outer) / "old")
    except OSError as error:
        reason = error.strerror or "no reason given"
        message = f"cannot be written: {reason}; make room or name another directory"
        raise DestinationError(f"{directory}: {message}") from error


def _swap(directory: Path, fresh: Path, old: Path) -> None:
    """Put `fresh` in the place of `directory`; on failure what was there is back."""
    was_there = directory.exists()
    if was_there:
        directory.rename(old)
    try:
        fresh.rename(directory)
    except OSError:
        if was_there:
            old.rename(directory)
        raise


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
    values = json_format.MessageToDict(bundle, preserving_proto_field_name=True)
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")
