"""Frames on the device into the slots of a batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import numpy as np

from spinert.runtime.backends.on_device import DeviceImage, PlacedImage
from spinert.runtime.device import Device, DeviceBuffer, Stream
from spinert.runtime.device_input.kernels import Axis, Canvas, Kernels, StoredPixels
from spinert.runtime.device_input.uploads import UploadedImage
from spinert.runtime.device_input.weights import bilinear_weights

__all__ = ["Resizer"]

_MAX_AXES: Final = 64
"""Axes whose weights are kept: some tens of KB each."""
_STEP: Final = 2**20
"""Scratch memory grows by multiples of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _OwnedAxis:
    axis: Axis
    memory: DeviceBuffer


class Resizer:
    """Makes one network's inputs on one stream; used under one lock.

    All work is enqueued on `stream`: that order is what lets frames share the memory
    between the two passes.
    """

    def __init__(self, device: Device, kernels: Kernels, stream: Stream) -> None:
        """Take nothing yet.

        Args:
            device: Current in every thread that calls.
            kernels: Loaded onto it.
            stream: Where inputs are made.
        """
        self._device = device
        self._kernels = kernels
        self._stream = stream
        self._scratch: DeviceBuffer | None = None
        # Those not used for longest come first.
        self._axes: OrderedDict[tuple[int, int], _OwnedAxis] = OrderedDict()

    def enqueue(self, frames: Sequence[PlacedImage], address: int) -> None:
        """Enqueue the inputs of a batch.

        Args:
            frames: All of one padded size; held until the stream is done with them.
            address: Of uint8 (N, 1, H, W) on the device.

        Raises:
            BackendError: The device failed, or has no memory left.
        """
        for slot, frame in enumerate(frames):
            stored, place = _stored(frame.image), frame.placement
            across = self._axis(stored.columns, place.valid_width)
            down = self._axis(stored.rows, place.valid_height)
            canvas = Canvas(
                address=address + slot * place.height * place.width,
                valid_height=place.valid_height,
                valid_width=place.valid_width,
                height=place.height,
                width=place.width,
            )
            scratch = self._reserved(stored.rows * place.valid_width)
            self._kernels.resize(stored, canvas, across, down, scratch, self._stream)

    def close(self) -> None:
        """Free everything; the stream is empty, or the device lost."""
        with ExitStack() as owner:
            for owned in self._axes.values():
                owner.callback(owned.memory.free)
            if self._scratch is not None:
                owner.callback(self._scratch.free)
        self._axes.clear()
        self._scratch = None

    def _reserved(self, nbytes: int) -> int:
        if self._scratch is None or self._scratch.nbytes < nbytes:
            if self._scratch is not None:
                self._stream.synchronize()
                self._scratch.free()
                self._scratch = None
            self._scratch = self._device.allocate(-(-nbytes // _STEP) * _STEP)
        return self._scratch.address

    def _axis(self, sources: int, results: int) -> Axis:
        key = sources, results
        if key not in self._axes:
            self._forget()
            self._axes[key] = self._uploaded(sources, results)
        self._axes.move_to_end(key)
        return self._axes[key].axis

    def _forget(self) -> None:
        """Make room for another axis, never taking those of the frame at hand."""
        if len(self._axes) < _MAX_AXES:
            return
        self._stream.synchronize()
        _, oldest = self._axes.popitem(last=False)
        oldest.memory.free()

    def _uploaded(self, sources: int, results: int) -> _OwnedAxis:
        weights = bilinear_weights(sources, results)
        content = np.concatenate([weights.starts, weights.values.ravel()]).view(
            np.uint8
        )
        with ExitStack() as owner:
            memory = self._device.allocate(content.size)
            owner.callback(memory.free)
            with ExitStack() as staged:
                host = self._device.pinned(content.size)
                staged.callback(host.free)
                staged.callback(self._stream.synchronize)
                host.array[:] = content
                self._device.copy_in(memory, host, content.size, self._stream)
            owner.pop_all()
        axis = Axis(
            starts=memory.address,
            values=memory.address + weights.starts.nbytes,
            taps=weights.taps,
        )
        return _OwnedAxis(axis=axis, memory=memory)


def _stored(image: DeviceImage) -> StoredPixels:
    if not isinstance(image, UploadedImage):
        raise TypeError("a frame of another backend")
    return image.stored
