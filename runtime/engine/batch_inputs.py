"""Frames to the inputs of a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays
from spinert.runtime.engine.prepare import NetworkTensor
from spinert.runtime.preprocess.canvas import Placement

__all__ = ["batch_inputs", "image_sizes"]


def batch_inputs(network: pb.NetworkInput, tensors: Sequence[NetworkTensor]) -> Arrays:
    """Stack frames of equal size into graph inputs (bundle.proto's contract).

    Returns:
        `image` (N,C,H,W) and, where the network takes it, `image_size` int32 (N,2)
        with the valid (height, width).
    """
    image = np.stack([tensor.pixels for tensor in tensors])
    sizes = image_sizes(network, [tensor.placement for tensor in tensors])
    return {"image": image, **sizes}


def image_sizes(network: pb.NetworkInput, places: Sequence[Placement]) -> Arrays:
    """Return `image_size`, or nothing where the network does not take it."""
    if not network.takes_image_size:
        return {}
    sizes = [(place.valid_height, place.valid_width) for place in places]
    return {"image_size": np.array(sizes, np.int32)}
