"""What one upload at a time needs: a stream, page-locked memory, counts."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Final

import numpy as np
import numpy.typing as npt

from spinert.runtime.device import Device, PinnedBuffer
from spinert.runtime.device_input.kernels import Kernels, StoredPixels
from spinert.runtime.device_input.memory import TABLE_BYTES, FrameMemory
from spinert.runtime.errors import DeviceLost
from spinert.runtime.image import Stored

__all__ = ["Staging"]

_COUNTS_BYTES: Final = 4 * TABLE_BYTES
_STEP: Final = 2**20
"""Page-locked memory grows by multiples of it."""


class Staging:
    """One upload after the other; used by one thread at a time.

    Every call returns once the device is done: what it wrote, any stream may read.
    """

    def __init__(self, device: Device, kernels: Kernels, owner: ExitStack) -> None:
        """Take what every upload needs; `owner` frees it, whatever happens here.

        Raises:
            BackendError: The device has no memory left.
        """
        self._device = device
        self._kernels = kernels
        self._stream = device.stream()
        owner.callback(self._stream.free)
        self._counts = device.allocate(_COUNTS_BYTES)
        owner.callback(self._counts.free)
        self._host_counts = device.pinned(_COUNTS_BYTES)
        owner.callback(self._host_counts.free)
        self._host_table = device.pinned(TABLE_BYTES)
        owner.callback(self._host_table.free)
        self._host_pixels: PinnedBuffer = device.pinned(_STEP)
        owner.callback(lambda: self._host_pixels.free())

    def upload(
        self, pixels: Stored, stored: StoredPixels, memory: FrameMemory
    ) -> npt.NDArray[np.uint32]:
        """Copy `pixels` into `memory` and count them there.

        Returns:
            How often each pattern of bits occurs: uint32 [256 ** itemsize], the
            caller's.

        Raises:
            BackendError: The device failed, or has no memory left.
        """
        nbytes = pixels.nbytes
        self._reserve(nbytes)
        staged = self._host_pixels.array[:nbytes].view(pixels.dtype)
        np.copyto(staged.reshape(pixels.shape), pixels)
        self._device.copy_in(memory.pixels, self._host_pixels, nbytes, self._stream)
        self._kernels.count(stored, self._counts.address, self._stream)
        length = 4 * 256**stored.itemsize
        self._device.copy_out(self._host_counts, self._counts, length, self._stream)
        self._stream.synchronize()
        return self._host_counts.array[:length].view(np.uint32).copy()

    def set_table(self, table: npt.NDArray[np.uint8], memory: FrameMemory) -> None:
        """Copy the grey of every pattern into `memory`.

        Raises:
            BackendError: The device failed.
        """
        self._host_table.array[: table.size] = table
        self._device.copy_in(memory.table, self._host_table, table.size, self._stream)
        self._stream.synchronize()

    def settle(self) -> None:
        """Wait until nothing of it is on the device, or the device is lost."""
        with suppress(DeviceLost):
            self._stream.synchronize()

    def _reserve(self, nbytes: int) -> None:
        if nbytes > self._host_pixels.array.size:
            grown = self._device.pinned(-(-nbytes // _STEP) * _STEP)
            # The stream is empty between uploads.
            self._host_pixels.free()
            self._host_pixels = grown
