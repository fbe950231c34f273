"""Memory that frames are read into: touched before, and used again.

The first touch of 15 MB of fresh memory costs more than filling it.
"""

from __future__ import annotations

import mmap
import weakref
from collections import deque
from contextlib import suppress

import numpy as np

from spinert.runtime.errors import Reason, Unavailable

__all__ = ["FrameMemory"]

_STEP_BYTES = 2 * 2**20
"""Blocks are multiples of it: a huge page, where the system has them to give."""
_PAGE_BYTES = 4096


class FrameMemory:
    """A few blocks of memory, lent out and taken back; safe for any thread.

    A block comes back by itself when the last view of it is gone, so nobody can
    write into a frame that somebody still looks at.
    """

    def __init__(self, max_free_blocks: int = 4) -> None:
        """Keep at most `max_free_blocks` that nobody uses, the latest ones."""
        # Its methods are atomic, so a view may end anywhere: also during a garbage
        # collection on the thread that is just here.
        self._free: deque[mmap.mmap] = deque(maxlen=max_free_blocks)

    @property
    def free_blocks(self) -> int:
        """Blocks that nobody uses."""
        return len(self._free)

    def take(self, n_bytes: int) -> memoryview:
        """Return `n_bytes` of writable memory with whatever it held before.

        Raises:
            Unavailable: The system has no more memory to give.
        """
        block = self._reused(n_bytes) or _touched(n_bytes)
        array = np.frombuffer(block, np.uint8, n_bytes)
        weakref.finalize(array, self._free.append, block).atexit = False
        # The view keeps the array, which unlike it can be watched by weakref.
        return array.data

    def _reused(self, n_bytes: int) -> mmap.mmap | None:
        """Return a free block that fits, and is not many times too large."""
        largest = 2 * n_bytes + _STEP_BYTES
        for _ in range(len(self._free)):
            try:
                block = self._free.pop()
            except IndexError:  # another thread took the last one
                return None
            if n_bytes <= len(block) <= largest:
                return block
            self._free.appendleft(block)
        return None


def _touched(n_bytes: int) -> mmap.mmap:
    size = max(1, -(-n_bytes // _STEP_BYTES)) * _STEP_BYTES
    try:
        block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:
        raise Unavailable(
            Reason.NOT_READY, "the server is short of memory; retry later"
        ) from None
    with suppress(OSError):  # a kernel that knows no huge pages: it works without
        block.madvise(mmap.MADV_HUGEPAGE)
    np.frombuffer(block, np.uint8)[::_PAGE_BYTES] = 0
    return block
