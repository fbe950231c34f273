"""Inputs to run a network once before the first frame."""

from __future__ import annotations

import numpy as np

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Backend
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.engine.prepare import NetworkTensor
from spinert.runtime.preprocess.canvas import placement

__all__ = ["typical_tensor", "warm_up"]

# A lumbar spine radiograph, portrait.
_ROWS, _COLUMNS = 2455, 1606


def warm_up(bundle: LoadedBundle, backend: Backend) -> None:
    """Run every network of a backend that does not serve yet once.

    Raises:
        BackendError: A network failed.
    """
    for role, network in bundle.spec.networks.items():
        backend.run(role, batch_inputs(network.input, [typical_tensor(network.input)]))


def typical_tensor(spec: pb.NetworkInput) -> NetworkTensor:
    """Return a black image of the padded size a usual radiograph gets."""
    place = placement(_ROWS, _COLUMNS, spec.canvas)
    is_grey = spec.element_type == pb.ELEMENT_UINT8
    channels = 1 if is_grey else len(spec.mean)
    shape = (channels, place.height, place.width)
    dtype = np.uint8 if is_grey else np.float32
    return NetworkTensor(pixels=np.zeros(shape, dtype), placement=place)
