"""Converted networks of earlier exports, kept outside the bundles.

An entry is what one network adds to a bundle: its files, and a fragment of bundle.json
that lists and hashes them. It is found by a key over everything that decides it (see
`spinert.export.cache_key`), written beside its place and renamed into it, and checked
file by file when it is read: a damaged entry is dropped and made again. Only entries
that this machine's own user wrote are read.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from google.protobuf import json_format

from spinert.export.bundle_writer import write_index
from spinert.export.checkpoints.reader import sha256_from_file
from spinert.export.errors import DestinationError
from spinert.proto import bundle_pb2 as pb
from spinert.proto.bundle_directory import MANIFEST

__all__ = ["DEFAULT_MAX_BYTES", "ExportCache", "default_cache_directory"]

DEFAULT_MAX_BYTES: Final = 8 * 2**30
"""About ten exports of three DenseNets and a ResNet-50 detector in two precisions."""

_DIGEST: Final = "digest"
_TEMPORARY: Final = ".new-"
_ABANDONED_S: Final = 24 * 3600.0
"""A process that was killed cannot clean up; none writes for a day."""
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_logger = logging.getLogger(__name__)


def default_cache_directory() -> Path:
    """Return $XDG_CACHE_HOME/spinert/export, by default below ~/.cache.

    source: XDG Base Directory Specification: a relative value is ignored.
    """
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = stated if stated.is_absolute() else Path.home() / ".cache"
    return base / "spinert" / "export"


class ExportCache:
    """A folder of entries; several processes may use it at once."""

    def __init__(self, directory: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Use a folder, which is made for this user alone if it is missing.

        Args:
            directory: Of the cache.
            max_bytes: The entries used longest ago go when all are larger than this.

        Raises:
            DestinationError: The folder cannot be made, or others can write to it.
        """
        self.directory = directory
        self.max_bytes = max_bytes
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_own = _is_own(directory)
        except OSError as error:
            message = f"{directory}: cannot be made; choose another --cache or none"
            raise DestinationError(message) from error
        if not is_own or not directory.is_dir():
            message = "the export cache must be a folder that only you can write to"
            raise DestinationError(f"{directory}: {message}; choose another --cache")

    def lookup(self, key: str, folder: Path) -> pb.Bundle | None:
        """Copy an entry's files into a bundle's folder.

        Args:
            key: From `spinert.export.cache_key.key_from_export`.
            folder: Of the bundle being written.

        Returns:
            The fragment of the bundle that the entry is; None: there is no entry, or it
            was damaged, and `folder` is as it was.
        """
        entry = self.directory / key
        if not entry.is_dir():
            return None
        try:
            fragment = _fragment(entry)
            _copy(entry, folder, fragment)
        except (FileNotFoundError, ValueError, json_format.ParseError):
            # Damaged, or another process dropped it at this moment.
            _logger.warning("export cache: entry %s is damaged; made again", key[:12])
            shutil.rmtree(entry, ignore_errors=True)
            return None
        with suppress(OSError):  # a cache that is mounted read-only serves all the same
            os.utime(entry)
        del fragment.files[:]
        return fragment

    def store(
        self, key: str, fragment: pb.Bundle, folder: Path, files: Iterable[str]
    ) -> None:
        """Keep what a network adds to a bundle.

        The export does not depend on it: where there is no room, a warning says so.

        Args:
            key: From `spinert.export.cache_key.key_from_export`.
            fragment: A bundle with nothing but the network's own parts.
            folder: Of the bundle being written.
            files: Paths below `folder`, with forward slashes.
        """
        try:
            self._write(key, fragment, folder, files)
            self._prune()
        except OSError as error:
            reason = error.strerror or "no reason given"
            _logger.warning(
                "export cache: nothing kept in %s: %s", self.directory, reason
            )

    def _write(
        self, key: str, fragment: pb.Bundle, folder: Path, files: Iterable[str]
    ) -> None:
        with tempfile.TemporaryDirectory(
            dir=self.directory, prefix=_TEMPORARY, ignore_cleanup_errors=True
        ) as outer:
            entry = Path(outer) / key
            entry.mkdir(mode=0o700)
            for name in files:
                target = entry / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, target)
            copy = pb.Bundle()
            copy.CopyFrom(fragment)
            write_index(copy, entry)
            digest = sha256_from_file(entry / MANIFEST)
            (entry / _DIGEST).write_text(digest, encoding="ascii")
            if not (self.directory / key).exists():
                entry.rename(self.directory / key)

    def _prune(self) -> None:
        """Drop the entries used longest ago until the rest fits, and what was left."""
        everything = list(self.directory.iterdir())
        for left in everything:
            age_s = time.time() - left.stat().st_mtime
            if left.name.startswith(_TEMPORARY) and age_s > _ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)
        entries = [e for e in everything if not e.name.startswith(".")]
        total = 0
        for entry in sorted(entries, key=lambda e: e.stat().st_mtime_ns, reverse=True):
            total += sum(p.stat().st_size for p in entry.rglob("*") if p.is_file())
            if total > self.max_bytes:
                shutil.rmtree(entry, ignore_errors=True)


def _is_own(path: Path) -> bool:
    """Tell whether this user owns a path and nobody else can write to it."""
    found = path.lstat()
    is_link = stat.S_ISLNK(found.st_mode)
    return (
        not is_link
        and found.st_uid == os.geteuid()
        and not found.st_mode & _OTHERS_WRITE
    )


def _fragment(entry: Path) -> pb.Bundle:
    """Read an entry's index.

    Raises:
        FileNotFoundError: The entry is not complete.
        ValueError: The index differs, or something in it belongs to somebody else.
    """
    if not all(_is_own(path) for path in (entry, *entry.rglob("*"))):
        raise ValueError("somebody else's file")
    text = (entry / MANIFEST).read_bytes()
    digest = (entry / _DIGEST).read_text(encoding="ascii")
    if hashlib.sha256(text).hexdigest() != digest:
        raise ValueError("the index differs")
    return json_format.Parse(text, pb.Bundle())


def _copy(entry: Path, folder: Path, fragment: pb.Bundle) -> None:
    """Copy an entry's files; all of them as they were written, or none.

    Raises:
        FileNotFoundError: One is missing.
        ValueError: One differs.
    """
    copied: list[Path] = []
    try:
        for file in fragment.files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            copied.append(target)
            shutil.copyfile(entry / file.path, target)
            if sha256_from_file(target) != file.sha256:
                raise ValueError("a file differs")
    except (FileNotFoundError, ValueError):
        for path in copied:
            path.unlink(missing_ok=True)
        raise
