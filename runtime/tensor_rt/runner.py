"""Run one network on one device: batches in, arrays out, several on their way."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from queue import LifoQueue
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spinert.runtime.backends import Arrays
from spinert.runtime.backends.on_device import PlacedImage
from spinert.runtime.backends.profiled import LayerTime
from spinert.runtime.device import Device, Stream
from spinert.runtime.device_input.kernels import Kernels
from spinert.runtime.device_input.resizing import Resizer
from spinert.runtime.errors import BackendError, DeviceLost, Reason
from spinert.runtime.tensor_rt.engine import LoadedEngine
from spinert.runtime.tensor_rt.plans import Plans
from spinert.runtime.tensor_rt.signature import Shape, profile_for
from spinert.runtime.tensor_rt.slots import Slot, made_slot

__all__ = ["SLOTS", "Runner"]

SLOTS: Final = 2
"""Batches on their way at once: one is copied while the other is computed."""
_IMAGE: Final = "image"
"""The input that may be made on the device (bundle.proto)."""


class Runner:
    """One network with its own streams, buffers and contexts.

    A batch takes a slot, is copied into its page-locked memory, and passes three
    streams: upload, compute, download. An event leads from each to the next, so that
    the copies of one batch overlap with the computation of another. Computation itself
    is one stream, in order: contexts share their scratch memory. `run` may be called
    by any number of threads; `SLOTS` of them make progress.
    """

    def __init__(
        self,
        device: Device,
        engine: LoadedEngine,
        max_graphs: int,
        kernels: Kernels | None = None,
    ) -> None:
        """Take all memory that will ever be needed, for the largest batch and image.

        Args:
            device: Where to run; current in this thread.
            engine: The network, loaded onto it; dropped by `close`.
            max_graphs: CUDA graphs kept; 0: none are captured.
            kernels: Make the inputs of `run_images`, which takes memory between its
                passes as frames come; None: only `run` is used.

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
            self._resizer = Resizer(device, kernels, self._upload) if kernels else None
            if self._resizer is not None:
                owner.callback(self._resizer.close)
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
        return self._run(inputs, ())

    def run_images(
        self, images: Sequence[PlacedImage], others: Arrays
    ) -> dict[str, npt.NDArray[Any]]:
        """Run one batch whose input `image` is made on the device.

        See the Protocol `PreparingBackend`.

        Raises:
            BackendError: These are not inputs of the network, an image was released,
                or the network failed.
            DeviceLost: The device is dead.
        """
        return self._run(others, images)

    def input_of(self, images: Sequence[PlacedImage]) -> npt.NDArray[Any]:
        """Return the input `image` that `run_images` would make.

        Raises:
            BackendError: An image was released, or the device failed.
            DeviceLost: The device is dead.
        """
        shape = _shape_of(images)
        with self._using(images) as slot, self._enqueuing:
            self._make(slot, images)
            return slot.read_input(self._device, _IMAGE, shape, self._upload)

    def layer_times(self, inputs: Arrays, runs: int) -> tuple[LayerTime, ...]:
        """Measure the layers; see the Protocol `ProfiledBackend`.

        Other batches wait meanwhile: contexts share their scratch memory.

        Raises:
            BackendError: The inputs are not those of the network, or it cannot be
                profiled.
            DeviceLost: The device is dead.
        """
        shapes = self._checked_shapes(inputs)
        with self._using(()) as slot:
            slot.fill(inputs)
            with self._enqueuing:
                slot.upload(self._device, inputs, self._upload)
                self._compute.wait(slot.uploaded)
                return self._plans.layer_times(slot, shapes, runs)

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

    @contextmanager
    def _using(self, images: Sequence[PlacedImage]) -> Iterator[Slot]:
        """Yield a slot, and keep `images` until the device is done with both."""
        with ExitStack() as owner:
            owner.enter_context(self._device.current())
            for frame in images:
                owner.enter_context(frame.image.held())
            slot = owner.enter_context(self._slot())
            try:
                yield slot
            except BaseException:
                # What was enqueued may still use the slot; and a device that died of
                # this says so now.
                self._settle()
                raise

    def _run(
        self, arrays: Arrays, images: Sequence[PlacedImage]
    ) -> dict[str, npt.NDArray[Any]]:
        shapes = self._checked_shapes(_as_given(arrays, images))
        with self._using(images) as slot:
            slot.fill(arrays)
            with self._enqueuing:
                plan = self._plans.plan_for(slot, shapes)
                if images:
                    self._make(slot, images)
                slot.upload(self._device, arrays, self._upload)
                self._compute.wait(slot.uploaded)
                plan.enqueue(self._compute)
                slot.computed.record(self._compute)
                slot.download(self._device, plan.outputs, self._download)
                self._plans.after_run(plan)
            slot.done.synchronize()
            return slot.read(plan.outputs)

    def _checked_shapes(self, inputs: Arrays) -> dict[str, Shape]:
        """Return shapes that a slot has room for.

        Raises:
            BackendError: The inputs are not those of the network.
        """
        shapes = self._signature.shapes_of(self._role, inputs)
        profile_for(self._role, self._signature, shapes)
        return shapes

    def _make(self, slot: Slot, images: Sequence[PlacedImage]) -> None:
        """Enqueue the input `image` of a batch into `slot`."""
        if self._resizer is None:
            raise BackendError(
                Reason.NETWORK_FAILED,
                "inputs are not made on the device; set backend.device_preprocessing",
            )
        self._resizer.enqueue(images, slot.addresses[_IMAGE])

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


def _as_given(arrays: Arrays, images: Sequence[PlacedImage]) -> Arrays:
    """Return all inputs of a batch; `images` as an array that takes no memory."""
    if not images:
        return arrays
    return {**arrays, _IMAGE: np.broadcast_to(np.uint8(0), _shape_of(images))}


def _shape_of(images: Sequence[PlacedImage]) -> Shape:
    sizes = {frame.size for frame in images}
    if len(sizes) != 1:
        raise BackendError(
            Reason.NETWORK_FAILED, f"a batch of {len(sizes)} sizes; one is possible"
        )
    return len(images), 1, *sizes.pop()


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
