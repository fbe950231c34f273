"""A bundle's directory: complete, or not there at all. Both stages write one.

Errors are the system's own; each stage puts them into words of its own tree.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from google.protobuf import json_format

from spinert.proto import bundle_pb2 as pb

__all__ = ["MANIFEST", "manifest_text", "occupied", "staged_directory"]

MANIFEST: Final = "bundle.json"


def manifest_text(bundle: pb.Bundle) -> str:
    """Return the manifest of a bundle; equal bundles have equal ones."""
    values = json_format.MessageToDict(bundle, preserving_proto_field_name=True)
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def occupied(directory: Path, *, replace: bool) -> str:
    """Return why no bundle may be written to `directory`; empty where one may."""
    if not directory.exists():
        return ""
    if not directory.is_dir():
        return "is a file; name a directory"
    if not any(directory.iterdir()):
        return ""
    if not (directory / MANIFEST).is_file():
        return "exists and is not a bundle; name another directory"
    return "" if replace else "a bundle is there; remove it or ask to replace it"


@contextmanager
def staged_directory(directory: Path) -> Iterator[Path]:
    """Give a temporary folder beside `directory` that takes its place at the end.

    Owns the folder: it is gone after an exception, and `directory` is untouched.

    Raises:
        OSError: There is no room, or no right to write.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{directory.name}."
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=prefix) as outer:
        fresh = Path(outer) / "new"
        fresh.mkdir()
        yield fresh
        _swap(directory, fresh, Path(outer) / "old")


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
