"""Frames onto the device: stored values up, counts down, a table of greys up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from queue import LifoQueue
from typing import Final

import numpy as np
import numpy.typing as npt

from spinert.runtime.device import Device
from spinert.runtime.device_input.kernels import Kernels, StoredPixels
from spinert.runtime.device_input.memory import FrameMemory, FramePool
from spinert.runtime.device_input.staging import Staging
from spinert.runtime.errors import BackendError, Reason
from spinert.runtime.image import Stored

__all__ = ["UploadedImage", "Uploads"]

_STAGES: Final = 2
"""Uploads at once: one is copied on the host while another crosses the bus."""


class UploadedImage:
    """A frame on the device; see the Protocol `DeviceImage`."""

    def __init__(self, pool: FramePool, memory: FrameMemory, pixels: Stored) -> None:
        """Describe `pixels`, which go into `memory` of `pool`."""
        self._pool = pool
        self._memory: FrameMemory | None = memory
        self._lock = threading.Lock()
        self._holders = 0
        self._is_released = False
        rows, columns = pixels.shape
        self.stored = StoredPixels(
            address=memory.pixels.address,
            rows=rows,
            columns=columns,
            itemsize=pixels.itemsize,
            table=memory.table.address,
        )

    @property
    def rows(self) -> int:
        """Of the frame."""
        return self.stored.rows

    @property
    def columns(self) -> int:
        """Of the frame."""
        return self.stored.columns

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the memory within the block, at whose end the device is done with it.

        Raises:
            BackendError: The image was released before.
        """
        with self._lock:
            if self._is_released:
                raise BackendError(
                    Reason.NETWORK_FAILED,
                    "the frame has left the device: nobody waits for its answer",
                )
            self._holders += 1
        try:
            yield
        finally:
            self._let_go(1)

    def release(self) -> None:
        """Give the memory back as soon as nobody holds it."""
        self._is_released = True
        self._let_go(0)

    def _let_go(self, holders: int) -> None:
        with self._lock:
            self._holders -= holders
            if self._holders or not self._is_released:
                return
            # Given back once: the next frame may have it already.
            memory, self._memory = self._memory, None
        if memory is not None:
            self._pool.give(memory)


class _CountedImage:
    """A frame whose values are counted; see the Protocol `CountedImage`."""

    def __init__(
        self,
        pixels: Stored,
        patterns: npt.NDArray[np.uint32],
        image: UploadedImage,
        memory: FrameMemory,
        staging: Staging,
    ) -> None:
        """Order the counts of `patterns` by the value that the bits stand for."""
        self._is_signed = pixels.dtype.kind == "i"
        self._image = image
        self._memory = memory
        self._staging = staging
        self.is_mapped = False
        half = len(patterns) // 2 if self._is_signed else 0
        ordered = np.roll(patterns, half)
        present = np.flatnonzero(ordered)
        self.first = int(present[0]) - half
        self.counts = ordered[present[0] : present[-1] + 1]
        self._patterns = len(patterns)

    def mapped(self, table: npt.NDArray[np.uint8]) -> UploadedImage:
        """Upload the greys; values that do not occur get 0."""
        if table.shape != self.counts.shape:
            raise ValueError("the table must be as long as the counts")
        values = np.arange(self.first, self.first + len(table))
        greys = np.zeros(self._patterns, np.uint8)
        # Two's complement: negative values lie in the upper half of the patterns.
        greys[values % self._patterns] = table
        self._staging.set_table(greys, self._memory)
        self.is_mapped = True
        return self._image


class Uploads:
    """Uploads frames; for any thread."""

    def __init__(self, device: Device, kernels: Kernels, limit_bytes: int) -> None:
        """Take what uploads need; frames take memory when they come.

        Args:
            device: Current in this thread.
            kernels: Loaded onto it.
            limit_bytes: Of the stored values of all frames on the device.

        Raises:
            BackendError: The device has no memory left; nothing is kept.
        """
        self._device = device
        self._pool = FramePool(device, limit_bytes)
        self._free: LifoQueue[Staging] = LifoQueue()
        with ExitStack() as owner:
            owner.callback(self._pool.close)
            for _ in range(_STAGES):
                self._free.put(Staging(device, kernels, owner))
            self._owned = owner.pop_all()

    @contextmanager
    def uploading(self, pixels: Stored) -> Iterator[_CountedImage]:
        """Upload and count `pixels` [rows, columns]; see `PreparingBackend`."""
        with self._device.current(), ExitStack() as owner:
            memory = self._pool.take(pixels.nbytes)
            image = UploadedImage(self._pool, memory, pixels)
            undo = owner.enter_context(ExitStack())
            undo.callback(image.release)
            staging = self._free.get()
            owner.callback(self._free.put, staging)
            # Also where it failed: the memory goes to another frame.
            owner.callback(staging.settle)
            patterns = staging.upload(pixels, image.stored, memory)
            counted = _CountedImage(pixels, patterns, image, memory, staging)
            yield counted
            if counted.is_mapped:
                undo.pop_all()

    def close(self) -> None:
        """Free everything; no upload and no batch runs any more.

        The device is current in this thread, or lost.
        """
        self._owned.close()
