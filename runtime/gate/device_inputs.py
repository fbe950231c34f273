"""Inputs that the backend makes on its device: are they those of the export?"""

from __future__ import annotations

from collections.abc import Sequence

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Backend
from spinert.runtime.backends.on_device import PreparingBackend
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.engine.on_device import host_tensor, prepared_on_device
from spinert.runtime.gate.golden_set import golden_image, require_same_input

__all__ = ["require_device_inputs"]

_WHERE = "the GPU (backend.device_preprocessing)"


def require_device_inputs(
    bundle: LoadedBundle, backend: Backend, frames: Sequence[pb.GoldenFrame]
) -> None:
    """Do nothing if `backend` makes no inputs itself, or those that the export made.

    Raises:
        BundleError: GOLDEN_SET_FAILED: it makes others, bit by bit.
        BackendError: The device failed.
    """
    if not backend.capabilities.prepares_on_device:
        return
    if not isinstance(backend, PreparingBackend):
        raise TypeError("the backend promises inputs that it cannot make")
    for frame in frames:
        image = golden_image(bundle, frame)
        roles = sorted(frame.networks)
        prepared = prepared_on_device(backend, bundle.spec, image, roles)
        try:
            for role in roles:
                made = host_tensor(backend, role, prepared.input_of(role))
                stored = frame.networks[role]
                require_same_input(role, frame.name, stored, made, where=_WHERE)
        finally:
            prepared.release()
