"""Frames whose network inputs are made on the device: prepared, and run in batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays, Backend
from spinert.runtime.backends.on_device import PlacedImage, PreparingBackend
from spinert.runtime.engine.batch_inputs import batch_inputs, image_sizes
from spinert.runtime.engine.prepare import (
    NetworkTensor,
    Prepared,
    notes_of,
    prepared_from_image,
)
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.errors import BackendError, Reason
from spinert.runtime.image import Image
from spinert.runtime.preprocess.canvas import placement
from spinert.runtime.preprocess.grey import table_from_counts

__all__ = [
    "FrameInput",
    "host_tensor",
    "prepared_frame",
    "prepared_on_device",
    "run_batch",
]

FrameInput = NetworkTensor | PlacedImage


def prepared_frame(
    switch: BackendSwitch, spec: pb.Bundle, image: Image, roles: Iterable[str]
) -> Prepared:
    """Prepare `image` where the backend of the moment wants it.

    Raises:
        FrameRefused: The image has no grey levels that could be analysed.
        BackendError: The device failed.
    """
    backend = switch.preparing
    if backend is None:
        return prepared_from_image(image, spec, roles)
    return prepared_on_device(backend, spec, image, roles)


def prepared_on_device(
    backend: PreparingBackend, spec: pb.Bundle, image: Image, roles: Iterable[str]
) -> Prepared:
    """Upload `image` for networks `roles` and note its quality.

    Raises:
        FrameRefused: The image has no grey levels that could be analysed.
        BackendError: The device failed.
    """
    rows, columns = image.pixels.shape
    places = {
        role: placement(rows, columns, spec.networks[role].input.canvas)
        for role in roles
    }
    with backend.uploading(image.pixels) as counted:
        table = table_from_counts(image, spec.grey, counted.first, counted.counts)
        uploaded = counted.mapped(table.greys)
    return Prepared(
        rows=rows,
        columns=columns,
        spacing=image.spacing,
        notes=notes_of(table.notes, rows, columns, places.values()),
        inputs={},
        on_device={
            role: PlacedImage(image=uploaded, placement=place)
            for role, place in places.items()
        },
    )


def run_batch(
    backend: Backend, role: str, spec: pb.NetworkInput, frames: Sequence[FrameInput]
) -> Arrays:
    """Run a batch of frames of equal size, wherever their inputs are.

    Where some are on the device and some are not, all go by way of the host.

    Raises:
        BackendError: The network failed.
    """
    images = [frame for frame in frames if isinstance(frame, PlacedImage)]
    if len(images) == len(frames):
        others = image_sizes(spec, [frame.placement for frame in frames])
        return _preparing(backend).run_images(role, images, others)
    tensors = [host_tensor(backend, role, frame) for frame in frames]
    return backend.run(role, batch_inputs(spec, tensors))


def host_tensor(backend: Backend, role: str, frame: FrameInput) -> NetworkTensor:
    """Return the input of a frame in the memory of the host.

    Raises:
        BackendError: It is on a device, which failed.
    """
    if isinstance(frame, NetworkTensor):
        return frame
    pixels = _preparing(backend).input_of(role, [frame])[0]
    return NetworkTensor(pixels=pixels, placement=frame.placement)


def _preparing(backend: Backend) -> PreparingBackend:
    if not isinstance(backend, PreparingBackend):
        raise BackendError(
            Reason.NETWORK_FAILED,
            "the frame was prepared for another backend; send it again",
        )
    return backend
