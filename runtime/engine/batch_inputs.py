"""Frames to the inputs of a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays
from spinert.runtime.engine.prepare import NetworkTensor

__all__ = ["batch_inputs"]


def batch_inputs(network: pb.NetworkInput, tensors: Sequence[NetworkTensor]) -> Arrays:
    """Stack frames of equal size into graph inputs (bundle.proto's contract).

    Returns:
        `image` (N,C,H,W) and, where the network takes it, `image_size` int32 (N,2)
        with the valid (height, width).
    """
    inputs = {"image": np.stack([tensor.pixels for tensor in tensors])}
    if network.takes_image_size:
        sizes = [
            (tensor.placement.valid_height, tensor.placement.valid_width)
            for tensor in tensors
        ]
        inputs["image_size"] = np.array(sizes, np.int32)
    return inputs
