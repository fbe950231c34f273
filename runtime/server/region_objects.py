"""Shared memory objects of other processes: opened, read and written, never mapped.

Their owner could make them smaller at any time, and touching a page that is gone
kills a process (SIGBUS). So they are read with preadv, once, into memory of the
server. That is the only copy of a frame, and it makes the frame stable: hash and
pixels are of the same bytes, whatever the client writes meanwhile.
"""

from __future__ import annotations

import errno
import os
import threading
import weakref

from spinert.runtime.errors import Reason, RegionRefused, SpinertError, Unavailable
from spinert.runtime.frame import Buffer
from spinert.runtime.server.region_rules import ObjectState
from spinert.runtime.server.span_reader import SpanReader

__all__ = ["LentSpan", "SharedObject"]

# Not blocking: a pipe or a lease of that name would stop the whole server.
_OPEN_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class SharedObject:
    """An open object; it closes itself when nobody refers to it any more."""

    def __init__(self, directory: str, file_name: str) -> None:
        """Open an object, for writing too where that is allowed.

        Raises:
            RegionRefused: SHARED_MEMORY_MISSING or SHARED_MEMORY_FORBIDDEN.
            Unavailable: The server is short of open files.
        """
        path = f"{directory}/{file_name}"
        self._is_writable = True
        try:
            try:
                self._descriptor = os.open(path, os.O_RDWR | _OPEN_FLAGS)
            except PermissionError:
                self._descriptor = os.open(path, os.O_RDONLY | _OPEN_FLAGS)
                self._is_writable = False
        except OSError as error:
            raise _opening_error(error) from None
        self._finalizer = weakref.finalize(self, os.close, self._descriptor)
        self._finalizer.atexit = False

    def close(self) -> None:
        """Close it now; calling twice is harmless."""
        self._finalizer()

    def state(self) -> ObjectState:
        """Return what it is now."""
        status = os.fstat(self._descriptor)
        return ObjectState(
            mode=status.st_mode, user=status.st_uid, size_bytes=status.st_size
        )

    def read(self, at: int, target: memoryview) -> None:
        """Fill `target` from offset `at`.

        Raises:
            RegionRefused: SHARED_MEMORY_TRUNCATED.
            Unavailable: The system cannot read now.
        """
        done = 0
        try:
            while done < len(target):
                count = os.preadv(self._descriptor, [target[done:]], at + done)
                if not count:
                    raise _truncated()
                done += count
        except OSError as error:
            raise _system_error(error) from None

    def refuse_unwritable(self, at: int, length: int) -> None:
        """Refuse a place that cannot be written to now.

        Raises:
            RegionRefused: SHARED_MEMORY_READ_ONLY or SHARED_MEMORY_TRUNCATED.
        """
        if not self._is_writable:
            raise RegionRefused(
                Reason.SHARED_MEMORY_READ_ONLY,
                "the server may only read this object: let its user write it",
            )
        # Writing behind the end would make it larger, at the server's expense.
        if self.state().size_bytes < at + length:
            raise _truncated()

    def write(self, at: int, data: memoryview) -> None:
        """Write `data` at offset `at`.

        Raises:
            RegionRefused: SHARED_MEMORY_READ_ONLY or SHARED_MEMORY_TRUNCATED.
            Unavailable: The system cannot write now.
        """
        self.refuse_unwritable(at, len(data))
        try:
            while data:
                count = os.pwrite(self._descriptor, data, at)
                data, at = data[count:], at + count
        except OSError as error:
            raise _system_error(error) from None


class LentSpan:
    """A part of an object that a frame lies in, until it is fetched.

    Keeps the object open, so that the region may be unregistered and unlinked
    meanwhile. Nothing is copied for a frame that is refused before.
    """

    def __init__(
        self, memory: SharedObject, at: int, n_bytes: int, reader: SpanReader
    ) -> None:
        """Lend `n_bytes` at offset `at` of `memory`; `reader` makes the copy."""
        self._source: tuple[SharedObject, int, SpanReader] | None = memory, at, reader
        self._n_bytes = n_bytes
        self._fetched: Buffer = b""
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """How many bytes it has."""
        return self._n_bytes

    def fetch(self) -> Buffer:
        """Copy the bytes out, the first time; the same ones later.

        Raises:
            RegionRefused: SHARED_MEMORY_TRUNCATED.
            Unavailable: The system cannot read them now.
        """
        with self._lock:
            if self._source is not None:
                memory, at, reader = self._source
                self._fetched = reader.copied(memory, at, self._n_bytes)
                self._source = None
            return self._fetched


def _truncated() -> RegionRefused:
    return RegionRefused(
        Reason.SHARED_MEMORY_TRUNCATED,
        "the object was made smaller after it was registered: leave it as it is until "
        "it is unregistered",
    )


def _opening_error(error: OSError) -> SpinertError:
    if error.errno in _SHORTAGES:
        return _system_error(error)
    if error.errno == errno.ENOENT:
        return RegionRefused(
            Reason.SHARED_MEMORY_MISSING,
            "there is no shared memory object of this key: create it first; with "
            "containers, share /dev/shm",
        )
    return RegionRefused(
        Reason.SHARED_MEMORY_FORBIDDEN,
        "the server may not open the object: create it with mode 0600 as the server's "
        "user, and not as a link",
    )


def _system_error(error: OSError) -> Unavailable:
    name = errno.errorcode.get(error.errno or 0, "unknown")
    return Unavailable(
        Reason.NOT_READY,
        f"the system refuses access to shared memory ({name}): the server is short "
        "of memory or open files; retry later",
    )
