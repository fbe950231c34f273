"""One process or thread at a time builds an engine; the others wait for it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["locked", "try_lock"]

_LOOK_AGAIN_S: Final = 0.1
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock on file `path`; it is made where needed and never removed.

    The lock ends with the process that holds it, however that ends.

    Args:
        path: The lock file.
        waiting: Called about every 0.1 s while another holds the lock; what it raises
            ends the waiting.

    Raises:
        OSError: The file cannot be opened or locked.
    """
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        # flock has no time limit, and `waiting` must be able to end this.
        while not _taken(descriptor):
            waiting()
            time.sleep(_LOOK_AGAIN_S)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Yield whether the lock on `path` could be taken without waiting.

    Raises:
        OSError: The file cannot be opened or locked.
    """
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        yield _taken(descriptor)
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
