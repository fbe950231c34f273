"""Write an engine to disk: complete, or not there at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spinert.runtime.compiled.trust import own_directory
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = [
    "MANIFEST",
    "PLAN",
    "BuildRecord",
    "prepared_root",
    "require_room",
    "storage_errors",
    "stored",
    "write_atomically",
]

PLAN: Final = "engine.plan"
MANIFEST: Final = "manifest.json"
_BUNDLE_MANIFEST: Final = "bundle.json"
_PRIVATE: Final = 0o700
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRecord:
    """How an engine came to be."""

    created_at: str
    """RFC 3339, UTC."""
    spinert_version: str
    seconds: float
    """Reading the graph and compiling it."""
    peak_rss_bytes: int
    """Largest memory of the process that built it, up to then."""


def prepared_root(root: Path) -> Path:
    """Return `root` without links, made where needed, and proven to be ours.

    Raises:
        BackendUnavailable: It cannot be made, lies in a bundle, or is not this user's
            alone to write.
    """
    with storage_errors(root):
        real = root.resolve()
        for parent in (real, *real.parents):
            if (parent / _BUNDLE_MANIFEST).exists():
                raise BackendUnavailable(
                    Reason.ENGINE_UNTRUSTED,
                    f"{root} lies in a bundle, and engines are never taken from one; "
                    "set engines.cache_dir to another directory",
                )
        real.parent.mkdir(parents=True, exist_ok=True)
        real.mkdir(mode=_PRIVATE, exist_ok=True)
        with own_directory(real):
            return real


def require_room(root: Path, bytes_needed: int) -> None:
    """Do nothing if the disk of `root` has that much left.

    Raises:
        BackendUnavailable: It has not.
    """
    free = shutil.disk_usage(root).free
    if free < bytes_needed:
        raise BackendUnavailable(
            Reason.ENGINE_CACHE_FAILED,
            f"{root} has {free / 2**20:.0f} MiB left and the engine may take "
            f"{bytes_needed / 2**20:.0f}; make room or set engines.cache_dir",
        )


def stored(root: Path, digest: str, files: Mapping[str, memoryview]) -> None:
    """Write `files` into folder `digest` of `root`, replacing the whole folder.

    Call it with the lock of `digest` held. After a crash at any point the folder is
    the old one, the new one, or missing; what else stays is removed the next time.

    Raises:
        OSError: They cannot be written; nothing of them stays.
    """
    final = root / digest
    partial, discarded = (root / f"{digest}.{end}" for end in ("partial", "discarded"))
    _removed(partial)
    _removed(discarded)
    try:
        partial.mkdir(mode=_PRIVATE)
        for name, content in files.items():
            _write_durably(_created(partial / name), content)
        _sync_directory(partial)
        if final.is_symlink() or final.exists():
            final.rename(discarded)
        partial.rename(final)
    except BaseException:
        _removed(partial)
        raise
    _sync_directory(root)
    _removed(discarded)


def write_atomically(path: Path, content: memoryview) -> None:
    """Write a file that other processes see complete or not at all.

    Raises:
        OSError: It cannot be written; nothing of it stays.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    partial = Path(name)
    try:
        _write_durably(descriptor, content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def storage_errors(root: Path) -> Iterator[None]:
    """Turn what the system says about files under `root` into a typed error.

    Raises:
        BackendUnavailable: The block raised OSError.
    """
    try:
        yield
    except OSError as error:
        why = "the disk is full" if error.errno in _FULL else str(error.strerror)
        raise BackendUnavailable(
            Reason.ENGINE_CACHE_FAILED,
            f"the engine cache {root} cannot be used: {why}; make room, or set "
            "engines.cache_dir to a directory that this user may write",
        ) from error


def _created(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def _write_durably(descriptor: int, content: memoryview) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _removed(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
