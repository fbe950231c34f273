"""Where front processes find their executor: a socket in a directory of its own."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["new_directory", "remove_abandoned", "socket_in"]

_PREFIX = "spinert-fronts-"
_SOCKET = "executor"
_STARTING_S = 60.0
"""A server that has its directory for less than this may not listen yet."""
_PROBE_S = 1.0


def new_directory() -> Path:
    """Make a directory that only this user may enter."""
    return Path(tempfile.mkdtemp(prefix=_PREFIX))


def socket_in(directory: Path) -> Path:
    """Return the path of the executor's socket in `directory`."""
    return directory / _SOCKET


def remove_abandoned() -> None:
    """Remove what servers of this user left that were killed, and nothing else."""
    parent = Path(tempfile.gettempdir())
    with suppress(OSError):  # what cannot be listed cannot be tidied up
        for directory in parent.glob(f"{_PREFIX}*"):
            with suppress(OSError):  # gone meanwhile, or holds what is not ours
                if _is_abandoned(directory):
                    socket_in(directory).unlink(missing_ok=True)
                    directory.rmdir()


def _is_abandoned(directory: Path) -> bool:
    state = directory.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
        return False
    if time.time() - state.st_mtime < _STARTING_S:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(socket_in(directory)))
        except (ConnectionRefusedError, FileNotFoundError):
            return True
    return False
