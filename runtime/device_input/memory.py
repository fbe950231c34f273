"""Memory of the frames on a device: bounded, and taken again instead of given back.

Taking memory from CUDA stops the whole device for a moment, so what a frame leaves
behind serves the next one of its size.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from spinert.runtime.device import Device, DeviceBuffer
from spinert.runtime.errors import BackendError, Reason

__all__ = ["TABLE_BYTES", "FrameMemory", "FramePool"]

TABLE_BYTES: Final = 2**16
"""The grey of every pattern of 16 bits."""

_STEP: Final = 2**20
"""Sizes are multiples of it, so that few differ."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FrameMemory:
    """Memory of one frame."""

    pixels: DeviceBuffer
    table: DeviceBuffer


class FramePool:
    """Hands out memory up to a limit; whoever asks for more waits. For any thread."""

    def __init__(self, device: Device, limit_bytes: int) -> None:
        """Take nothing yet.

        Args:
            device: Where; current in threads that call `take` and `close`.
            limit_bytes: Of pixels; a larger frame is taken alone.
        """
        self._device = device
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._owned_bytes = 0
        self._lent: set[FrameMemory] = set()
        # Those idle for longest come first.
        self._idle: OrderedDict[FrameMemory, None] = OrderedDict()
        self._is_open = True

    def take(self, nbytes: int) -> FrameMemory:
        """Return memory for `nbytes` of pixels; waits until there is some.

        Raises:
            BackendError: DEVICE_OUT_OF_MEMORY; or the pool is closed.
        """
        size = -(-nbytes // _STEP) * _STEP
        with self._changed:
            self._changed.wait_for(lambda: not self._is_open or self._may_take(size))
            if not self._is_open:
                raise BackendError(
                    Reason.NETWORK_FAILED, "the backend is closed; start again"
                )
            memory = self._again(size) or self._anew(size)
            self._lent.add(memory)
            return memory

    def give(self, memory: FrameMemory) -> None:
        """Take back what was lent; nothing on the device uses it. Frees nothing."""
        with self._changed:
            if memory in self._lent:
                self._lent.remove(memory)
                self._idle[memory] = None
                self._changed.notify_all()

    def close(self) -> None:
        """Free everything, lent or not; nothing on the device uses it."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
            with ExitStack() as owner:
                for memory in (*self._lent, *self._idle):
                    owner.callback(memory.pixels.free)
                    owner.callback(memory.table.free)
            self._lent.clear()
            self._idle.clear()

    def _may_take(self, size: int) -> bool:
        lent = sum(memory.pixels.nbytes for memory in self._lent)
        return not self._lent or lent + size <= self._limit_bytes

    def _again(self, size: int) -> FrameMemory | None:
        for memory in reversed(self._idle):
            if memory.pixels.nbytes == size:
                del self._idle[memory]
                return memory
        return None

    def _anew(self, size: int) -> FrameMemory:
        while self._idle and self._owned_bytes + size > self._limit_bytes:
            memory, _ = self._idle.popitem(last=False)
            self._owned_bytes -= memory.pixels.nbytes
            memory.pixels.free()
            memory.table.free()
        with ExitStack() as owner:
            pixels = self._device.allocate(size)
            owner.callback(pixels.free)
            table = self._device.allocate(TABLE_BYTES)
            owner.pop_all()
        self._owned_bytes += size
        return FrameMemory(pixels=pixels, table=table)
