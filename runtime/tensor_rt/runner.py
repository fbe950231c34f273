"""Run one network on one device: batches in, arrays out, several on their way."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from queue import LifoQueue
from typing import Any, Final

import numpy.typing as npt

from spinert.runtime.backends import Arrays
from spinert.runtime.device import Device, Stream
from spinert.runtime.errors import BackendError, DeviceLost, Reason
from spinert.runtime.tensor_rt.engine import LoadedEngine
from spinert.runtime.tensor_rt.plans import Plans
from spinert.runtime.tensor_rt.signature import Shape, profile_for
from spinert.runtime.tensor_rt.slots import Slot, made_slot

__all__ = ["SLOTS", "Runner"]

SLOTS: Final = 2
"""Batches on their way at once: one is copied while the other is computed."""


class Runner:
    """One network with its own streams, buffers and contexts.

    A batch takes a slot, is copied into its page-locked memory, and passes three
    streams: upload, compute, download. An event leads from each to the next, so that
    the copies of one batch overlap with the computation of another. Computation itself
    is one stream, in order: contexts share their scratch memory. `run` may be called
    by any number of threads; `SLOTS` of them make progress.
    """

    def __init__(self, device: Device, engine: LoadedEngine, max_graphs: int) -> None:
        """Take all memory that will ever be needed, for the largest batch and image.

        Args:
            device: Where to run; current in this thread.
            engine: The network, loaded onto it; dropped by `close`.
            max_graphs: CUDA graphs kept; 0: none are captured.

        Raises:
            BackendError: The device has no memory left, or TensorRT cannot make a
                context; everything taken is given back.
        """
        self._device = device
        self._role = engine.role
        self._signature = engine.signature
        self._enqueuing = threading.Lock()
        # Last in, first out: frames that come one by one share one slot's graphs.
        self._free: LifoQueue[Slot | None] = LifoQueue()
        with ExitStack() as owner:
            owner.callback(engine.close)
            self._upload = _stream(device, owner)
            self._compute = _stream(device, owner)
            self._download = _stream(device, owner)
            scratch = device.allocate(engine.scratch_bytes)
            owner.callback(scratch.free)
            # Freed after the plans, which point into them.
            slots = owner.enter_context(ExitStack())
            self._plans = Plans(
                device, engine, self._compute, scratch.address, max_graphs
            )
            owner.callback(self._plans.close)
            owner.callback(self._settle)
            largest = _largest_bytes(engine, scratch.address, self._compute.handle)
            for index in range(SLOTS):
                slot = made_slot(device, engine.signature, largest, index, slots)
                self._plans.add_slot(slot)
                self._free.put(slot)
            self._settle()
            self._owned = owner.pop_all()

    @property
    def graphs(self) -> int:
        """How many CUDA graphs are kept."""
        return self._plans.graphs

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run one batch; see the Protocol `Backend`.

        Raises:
            BackendError: The inputs are not those of the network, or it failed.
            DeviceLost: The device is dead.
        """
        shapes = self._signature.shapes_of(self._role, inputs)
        profile_for(self._role, self._signature, shapes)
        with self._device.current(), self._slot() as slot:
            try:
                return self._through(slot, inputs, shapes)
            except BaseException:
                # What was enqueued may still use the slot; and a device that died of
                # this says so now.
                self._settle()
                raise

    def close(self) -> None:
        """Wait for the batches on their way, then free everything; once only.

        The device is current in this thread, or lost.
        """
        for _ in range(SLOTS):
            self._free.get()
        # Whoever comes too late must not wait for a slot.
        self._free.put(None)
        with suppress(DeviceLost):
            self._owned.close()

    @contextmanager
    def _slot(self) -> Iterator[Slot]:
        slot = self._free.get()
        try:
            if slot is None:
                raise BackendError(
                    Reason.NETWORK_FAILED, f"network {self._role!r} is closed"
                )
            yield slot
        finally:
            self._free.put(slot)

    def _through(
        self, slot: Slot, inputs: Arrays, shapes: Mapping[str, Shape]
    ) -> dict[str, npt.NDArray[Any]]:
        slot.fill(inputs)
        with self._enqueuing:
            plan = self._plans.plan_for(slot, shapes)
            slot.upload(self._device, shapes, self._upload)
            self._compute.wait(slot.uploaded)
            plan.enqueue(self._compute)
            slot.computed.record(self._compute)
            slot.download(self._device, plan.outputs, self._download)
            self._plans.after_run(plan)
        slot.done.synchronize()
        return slot.read(plan.outputs)

    def _settle(self) -> None:
        """Wait until nothing of this network is on the device.

        Raises:
            DeviceLost: The device is dead.
        """
        for stream in (self._upload, self._compute, self._download):
            stream.synchronize()


def _stream(device: Device, owner: ExitStack) -> Stream:
    stream = device.stream()
    owner.callback(stream.free)
    return stream


def _largest_bytes(engine: LoadedEngine, scratch: int, stream: int) -> dict[str, int]:
    """Return the size of each tensor at the maximum of any profile, by name.

    Raises:
        BackendError: The size of an output does not follow from the inputs', or its
            first axis is not the batch.
    """
    largest: dict[str, int] = {}
    for index, profile in enumerate(engine.signature.profiles):
        maxima = {name: shapes.maximum for name, shapes in profile.items()}
        with closing(engine.context(index, scratch, stream)) as context:
            context.set_shapes(maxima)
            shapes = {**maxima, **context.output_shapes()}
        for port in (*engine.signature.inputs, *engine.signature.outputs):
            if shapes[port.name][0] != maxima["image"][0]:
                raise BackendError(
                    Reason.NETWORK_FAILED,
                    f"tensor {port.name!r} of network {engine.role!r} has no batch "
                    "axis; export the bundle again",
                )
            nbytes = port.nbytes(shapes[port.name])
            largest[port.name] = max(nbytes, largest.get(port.name, 0))
    return largest
