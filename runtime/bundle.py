"""Read a bundle and prove that it is complete before anything loads it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from google.protobuf import json_format

from spinert.proto import bundle_pb2
from spinert.proto.bundle_directory import MANIFEST
from spinert.proto.bundle_rules import broken_rules
from spinert.runtime.errors import BundleError, Reason

__all__ = ["CLASSIFIER", "DETECTOR", "LoadedBundle", "load_bundle"]

CLASSIFIER = "classifier"
DETECTOR = "detector"
_MAX_MANIFEST_BYTES = 4 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedBundle:
    """A bundle whose manifest is valid; `spec` is never modified."""

    directory: Path
    spec: bundle_pb2.Bundle
    sha256: str
    """Of bundle.json, which holds the hashes of all other files."""


def load_bundle(directory: Path, *, check_hashes: bool = True) -> LoadedBundle:
    """Read `directory`/bundle.json and check it against every file it lists.

    Args:
        directory: The bundle.
        check_hashes: Read every file and compare its SHA-256. False only where
            the same files were checked a moment ago.

    Raises:
        BundleError: No bundle, not valid, a file missing, changed or unlisted.
    """
    manifest = directory / MANIFEST
    try:
        with manifest.open("rb") as file:
            content = file.read(_MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise BundleError(
            Reason.BUNDLE_MISSING,
            f"no bundle at {directory}: {MANIFEST} cannot be read; "
            "make one with `spinert export`",
        ) from error
    spec = _spec_from_json(content, manifest)
    if broken := broken_rules(spec):
        raise BundleError(
            Reason.BUNDLE_INVALID, f"{manifest}: {broken[0]}; export the bundle again"
        )
    for entry in spec.files:
        _check_file(directory, entry, check_hashes)
    _check_nothing_unlisted(directory, spec)
    return LoadedBundle(
        directory=directory, spec=spec, sha256=hashlib.sha256(content).hexdigest()
    )


def _spec_from_json(content: bytes, manifest: Path) -> bundle_pb2.Bundle:
    if len(content) > _MAX_MANIFEST_BYTES:
        raise BundleError(Reason.BUNDLE_INVALID, f"{manifest} is too large")
    try:
        return json_format.Parse(content, bundle_pb2.Bundle())
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise BundleError(
            Reason.BUNDLE_INVALID,
            f"{manifest} does not follow bundle.proto: {str(error).splitlines()[0]}",
        ) from error


def _check_file(directory: Path, entry: bundle_pb2.File, check_hash: bool) -> None:
    path = directory / entry.path
    # Links could point outside the bundle or change after the check.
    linked = path.is_symlink() or (path.exists() and path.stat().st_nlink != 1)
    if not path.is_file() or linked:
        raise BundleError(
            Reason.BUNDLE_INVALID, f"{path} is missing or is not a regular file"
        )
    if path.stat().st_size != entry.bytes:
        raise BundleError(
            Reason.BUNDLE_HASH_MISMATCH,
            f"{path} has {path.stat().st_size} bytes instead of {entry.bytes}",
        )
    if check_hash:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != entry.sha256:
            raise BundleError(
                Reason.BUNDLE_HASH_MISMATCH,
                f"{path} was changed after export: its SHA-256 differs from {MANIFEST}",
            )


def _check_nothing_unlisted(directory: Path, spec: bundle_pb2.Bundle) -> None:
    listed = {MANIFEST} | {entry.path for entry in spec.files}
    present = {
        str(PurePosixPath(path.relative_to(directory)))
        for path in directory.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }
    if extra := sorted(present - listed):
        raise BundleError(
            Reason.BUNDLE_INVALID,
            f"{directory} holds {extra[0]}, which {MANIFEST} does not list; remove it",
        )
