"""A slot: the buffers of one batch on its way through the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.runtime.backends import Arrays
from spinert.runtime.device import Device, DeviceBuffer, Event, PinnedBuffer, Stream
from spinert.runtime.tensor_rt.signature import Port, Shape, Signature

__all__ = ["Slot", "made_slot"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    """A tensor on both sides of the bus, large enough for every shape of it."""

    port: Port
    host: PinnedBuffer
    device: DeviceBuffer


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """Buffers and events of one batch; used by one thread at a time.

    The buffers stay where they are for the life of the slot, so that contexts and
    graphs can be bound to them once.
    """

    index: int
    inputs: tuple[_Pair, ...]
    outputs: tuple[_Pair, ...]
    uploaded: Event
    computed: Event
    done: Event

    @property
    def addresses(self) -> Mapping[str, int]:
        """Where the tensors lie on the device, by name."""
        pairs = (*self.inputs, *self.outputs)
        return {pair.port.name: pair.device.address for pair in pairs}

    def fill(self, arrays: Arrays) -> None:
        """Copy what comes from the host into page-locked memory."""
        for name, array in arrays.items():
            np.copyto(_view(self._input(name), array.shape), array)

    def upload(self, device: Device, arrays: Arrays, on: Stream) -> None:
        """Enqueue the copies of `arrays` to the device, then `uploaded`."""
        for name, array in arrays.items():
            pair = self._input(name)
            device.copy_in(pair.device, pair.host, pair.port.nbytes(array.shape), on)
        self.uploaded.record(on)

    def read_input(
        self, device: Device, name: str, shape: Shape, on: Stream
    ) -> npt.NDArray[Any]:
        """Return a copy of an input as it lies on the device after the work of `on`."""
        pair = self._input(name)
        device.copy_out(pair.host, pair.device, pair.port.nbytes(shape), on)
        on.synchronize()
        return _view(pair, shape).copy()

    def download(self, device: Device, shapes: Mapping[str, Shape], on: Stream) -> None:
        """Enqueue the copies to the host after `computed`, then `done`."""
        on.wait(self.computed)
        for pair in self.outputs:
            nbytes = pair.port.nbytes(shapes[pair.port.name])
            device.copy_out(pair.host, pair.device, nbytes, on)
        self.done.record(on)

    def read(self, shapes: Mapping[str, Shape]) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the outputs, which belong to the caller; after `done`."""
        return {
            pair.port.name: _view(pair, shapes[pair.port.name]).copy()
            for pair in self.outputs
        }

    def _input(self, name: str) -> _Pair:
        return next(pair for pair in self.inputs if pair.port.name == name)


def made_slot(
    device: Device,
    signature: Signature,
    largest: Mapping[str, int],
    index: int,
    owner: ExitStack,
) -> Slot:
    """Take the buffers of a slot; `owner` frees them, whatever happens here.

    Args:
        device: Current in this thread.
        signature: The tensors.
        largest: Size of each tensor in bytes, by name, that it never exceeds.
        index: Of the slot.
        owner: Ends after everything that uses the slot.

    Raises:
        BackendError: The device has no memory left.
    """

    def pairs(ports: tuple[Port, ...]) -> Iterator[_Pair]:
        for port in ports:
            host = device.pinned(largest[port.name])
            owner.callback(host.free)
            memory = device.allocate(largest[port.name])
            owner.callback(memory.free)
            yield _Pair(port=port, host=host, device=memory)

    def event() -> Event:
        made = device.event()
        owner.callback(made.free)
        return made

    return Slot(
        index=index,
        inputs=tuple(pairs(signature.inputs)),
        outputs=tuple(pairs(signature.outputs)),
        uploaded=event(),
        computed=event(),
        done=event(),
    )


def _view(pair: _Pair, shape: Shape) -> npt.NDArray[Any]:
    """Return the page-locked memory of a tensor as an array of `shape`."""
    nbytes = pair.port.nbytes(shape)
    return pair.host.array[:nbytes].view(pair.port.dtype).reshape(shape)
