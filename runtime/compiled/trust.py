"""Read only what this user wrote: an engine is a program.

TensorRT runs what a plan contains, and its own validity check is no tamper check. So a
directory or file counts only if it belongs to this user and nobody else may write it,
and a file only if it is regular and has one name. Every check is made on the open
descriptor that is then read; a path that is exchanged in between gains nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["own_directory", "own_directory_within", "read_own_file"]

_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


@contextmanager
def own_directory(path: Path) -> Iterator[int]:
    """Yield a descriptor of directory `path`, which may be reached through links.

    Raises:
        OSError: It does not exist or cannot be opened.
        BackendUnavailable: It is not this user's alone to write.
    """
    yield from _checked_directory(path, None, os.O_DIRECTORY)


@contextmanager
def own_directory_within(directory: int, name: str) -> Iterator[int]:
    """Yield a descriptor of folder `name` of an open directory; no link.

    Raises:
        OSError: It does not exist or cannot be opened.
        BackendUnavailable: It is a link or a file, or not this user's alone to write.
    """
    yield from _checked_directory(Path(name), directory, os.O_DIRECTORY | os.O_NOFOLLOW)


def read_own_file(directory: int, name: str, max_bytes: int) -> bytes:
    """Return the content of file `name` of an open directory.

    Raises:
        OSError: It does not exist or cannot be read, or has more than `max_bytes`.
        BackendUnavailable: It is not a regular file of one name that only this user
            may write.
    """
    # Without waiting for a writer where the file is a pipe.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = _opened(Path(name), directory, flags)
    try:
        status = os.fstat(descriptor)
        _refuse_foreign(name, status)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise BackendUnavailable(
                Reason.ENGINE_UNTRUSTED,
                f"{name} in the engine cache is not a regular file of one name; {_OUT}",
            )
        if status.st_size > max_bytes:
            raise OSError(f"{name} is too large")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(descriptor)


_OUT: Final = "remove it, or set engines.cache_dir to a directory of your own"


def _checked_directory(path: Path, parent: int | None, flags: int) -> Iterator[int]:
    descriptor = _opened(path, parent, os.O_RDONLY | flags)
    try:
        _refuse_foreign(str(path), os.fstat(descriptor))
        yield descriptor
    finally:
        os.close(descriptor)


def _opened(path: Path, parent: int | None, flags: int) -> int:
    try:
        return os.open(path, flags, dir_fd=parent)
    except OSError as error:
        # What O_NOFOLLOW and O_DIRECTORY say of a link or a file in its place.
        if isinstance(error, NotADirectoryError) or _is_link(path, parent):
            raise BackendUnavailable(
                Reason.ENGINE_UNTRUSTED,
                f"{path} in the engine cache is a link or of the wrong kind; {_OUT}",
            ) from error
        raise


def _is_link(path: Path, parent: int | None) -> bool:
    try:
        status = os.stat(path, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return False
    return parent is not None and stat.S_ISLNK(status.st_mode)


def _refuse_foreign(name: str, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise BackendUnavailable(
            Reason.ENGINE_UNTRUSTED,
            f"{name} of the engine cache belongs to another user; {_OUT}",
        )
    if status.st_mode & _OTHERS_MAY_WRITE:
        raise BackendUnavailable(
            Reason.ENGINE_UNTRUSTED,
            f"{name} of the engine cache may be written by others; "
            f"run: chmod go-w, after making sure of its content, or {_OUT}",
        )
