"""All that one device needs to make network inputs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import BackendOptions
from spinert.runtime.device import Device
from spinert.runtime.device_input.kernels import Kernels, loaded_kernels
from spinert.runtime.device_input.uploads import Uploads
from spinert.runtime.errors import BackendError, BackendUnavailable, Reason

__all__ = ["Preparing", "opened_preparing", "require_preparable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparing:
    """The kernels on a device, and the way of frames onto it."""

    kernels: Kernels
    uploads: Uploads

    def close(self) -> None:
        """Free everything; the device is current in this thread, or lost."""
        with ExitStack() as owner:
            owner.callback(self.kernels.free)
            owner.callback(self.uploads.close)


def opened_preparing(device: Device, options: BackendOptions) -> Preparing:
    """Load the kernels onto `device`, which is current in this thread.

    Raises:
        BackendUnavailable: There are none for this GPU, or it has no memory left.
    """
    with ExitStack() as owner:
        kernels = loaded_kernels(device)
        owner.callback(kernels.free)
        try:
            uploads = Uploads(device, kernels, options.device_images_mib * 2**20)
        except BackendError as error:
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                f"frames cannot be uploaded to the GPU: {error.message}",
            ) from error
        owner.pop_all()
    return Preparing(kernels=kernels, uploads=uploads)


def require_preparable(role: str, spec: pb.NetworkInput) -> None:
    """Do nothing if the input of network `role` can be made on a device.

    Raises:
        BackendUnavailable: It is not 8-bit grey, or resized in another way.
    """
    integer = spec.resampler == pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST
    if spec.element_type != pb.ELEMENT_UINT8 or not integer:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"the input of network {role!r} is not 8-bit grey, which alone is made on "
            "a GPU; set backend.device_preprocessing to false",
        )
