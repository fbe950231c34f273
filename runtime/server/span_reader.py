"""Copies out of shared memory: large ones by two threads where a core is idle.

Objects lie in pages of 4 KiB wherever the system had one, so reading them waits for
memory more than it computes, and two threads are nearly twice as fast as one.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from spinert.runtime.frame import Buffer
from spinert.runtime.server.frame_memory import FrameMemory

__all__ = ["Readable", "SpanReader"]

_Pieces = deque[Callable[[], None]]

_PIECE_BYTES: Final = 2 * 2**20
"""Taken at once; the last one that is waited for is no longer than this."""
_HELPED_FROM_BYTES: Final = 4 * 2**20
"""Below, waking a thread costs more than it saves."""


class Readable(Protocol):
    """What is read from, by any thread."""

    def read(self, at: int, target: memoryview) -> None:
        """Fill `target` from offset `at`.

        Raises:
            SpinertError: It cannot be read, or not that far.
        """
        ...


class SpanReader:
    """Reads spans into memory that is used again; any number of threads may call.

    One helper takes pieces of a large span while the caller does. Nobody waits for
    it to begin: where no core is idle, the caller has read everything before.
    """

    def __init__(self, cores: int | None = None) -> None:
        """Start without memory and threads.

        Args:
            cores: How many there are; with one there is no helper. None: those that
                this process may use.
        """
        cores = cores or len(os.sched_getaffinity(0))
        self._memory = FrameMemory()
        self._helper = (
            ThreadPoolExecutor(1, thread_name_prefix="spinert-span")
            if cores > 1
            else None
        )

    def close(self) -> None:
        """End the helper; spans are read without it from now on."""
        if self._helper is not None:
            self._helper.shutdown()

    def copied(self, source: Readable, at: int, n_bytes: int) -> Buffer:
        """Return a copy of `n_bytes` of `source` from offset `at`, read once.

        Raises:
            SpinertError: As `source.read`.
        """
        target = self._memory.take(n_bytes)
        pieces = _pieces(source, at, target)
        helping = self._help(pieces) if n_bytes >= _HELPED_FROM_BYTES else None
        try:
            _read(pieces)
        finally:
            # Of an error here, the rest is not needed any more.
            pieces.clear()
            if helping is not None and not helping.cancel():
                wait((helping,))
        if helping is not None and not helping.cancelled():
            helping.result()
        return target.toreadonly()

    def _help(self, pieces: _Pieces) -> Future[None] | None:
        if self._helper is None:
            return None
        # It is closed, or the system has no thread to give: help is not needed.
        with suppress(RuntimeError):
            return self._helper.submit(_read, pieces)
        return None


def _pieces(source: Readable, at: int, target: memoryview) -> _Pieces:
    # Nothing but a piece refers to source and target: a helper that comes too late
    # must not keep them.
    return deque(
        partial(source.read, at + start, target[start : start + _PIECE_BYTES])
        for start in range(0, len(target), _PIECE_BYTES)
    )


def _read(pieces: _Pieces) -> None:
    """Read pieces until none is left; each is taken by one thread alone."""
    while True:
        try:
            piece = pieces.popleft()
        except IndexError:
            return
        piece()
