"""What decides an exported network, as one hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from google.protobuf import json_format

from spinert.export.bundle_writer import package_versions
from spinert.export.members import OpenedMember, OpenedRecipe
from spinert.export.recipe import Recipe
from spinert.proto import bundle_pb2 as pb

__all__ = ["key_from_export", "source_sha256"]

_PACKAGES: Final = ("spinert.export", "spinert.proto")
_IRRELEVANT: Final = ("name", "version", "notice", "golden", "provenance", "files")
"""Of a bundle: what says nothing of a network, or is not yet known."""


def _sources(folder: Traversable, where: str) -> Iterator[tuple[str, bytes]]:
    for item in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = f"{where}/{item.name}"
        if item.is_dir():
            yield from _sources(item, name)
        elif item.name.endswith(".py"):
            yield name, item.read_bytes()


def source_sha256() -> str:
    """Return the hash of every line of code that an export runs of this package."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for name, content in _sources(files(package), package):
            digest.update(f"{name} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


def _member(opened: OpenedMember) -> dict[str, Any]:
    """Return what decides one member; weights by the hash of their file."""
    recipe, imported = opened.recipe, opened.imported
    content = opened.sha256
    if imported is not None:
        # With the tensors of its external files.
        model = imported.read.model.SerializeToString(deterministic=True)
        content = hashlib.sha256(model).hexdigest()
    return {
        "name": recipe.name,
        "architecture": recipe.architecture,
        "source": recipe.checkpoint,
        "sha256": content,
        "style": opened.style.name,
        "wrapper": recipe.wrapper,
        "options": dict(opened.options),
        "mapping": dict(recipe.mapping),
    }


def key_from_export(
    recipe: Recipe, opened: OpenedRecipe, bundle: pb.Bundle, role: str
) -> str:
    """Return the SHA-256, hexadecimal, of everything that decides one network.

    Args:
        recipe: What is asked for.
        opened: The files it names.
        bundle: As planned, before anything is built.
        role: Of the network.
    """
    decides = pb.Bundle()
    decides.CopyFrom(bundle)
    for name in _IRRELEVANT:
        decides.ClearField(name)
    for other in set(decides.networks) - {role}:
        del decides.networks[other]
    values = {
        "role": role,
        "members": [_member(m) for m in opened.members if m.role == role],
        "bundle": json_format.MessageToDict(decides, preserving_proto_field_name=True),
        "golden": dataclasses.asdict(recipe.golden),
        "precisions": list(recipe.precisions),
        "packages": package_versions(),
        "machine": [platform.machine(), platform.python_version()],
        "code": source_sha256(),
    }
    text = json.dumps(values, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
