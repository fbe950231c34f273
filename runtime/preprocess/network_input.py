"""One image as one row of a network's input batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2
from spinert.runtime.errors import BundleError, Reason
from spinert.runtime.preprocess.canvas import Placement
from spinert.runtime.preprocess.resample import resize_f32, resize_u8

__all__ = ["PREPROCESSING", "network_input"]

PREPROCESSING = "spinert-preprocess-1"
"""Told with every answer; changes whenever a network input could change."""


def network_input(
    grey: npt.NDArray[np.uint8], placement: Placement, spec: bundle_pb2.NetworkInput
) -> npt.NDArray[Any]:
    """Resize and pad `grey` for a network.

    Args:
        grey: 8-bit grey [rows, columns], C-contiguous.
        placement: Where it goes, from `placement(rows, columns, spec.canvas)`.
        spec: What the network takes.

    Returns:
        ELEMENT_UINT8: uint8 (1, H, W), padded with 0; the graph normalises and fills.
        ELEMENT_FLOAT32: float32 (C, H, W), (value - mean) / std, padded with `fill`.
        C-contiguous, owned by the caller.

    Raises:
        BundleError: The element type or resampler is not one of this runtime.
    """
    height, width = placement.valid_height, placement.valid_width
    integer = spec.resampler == bundle_pb2.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST
    if spec.element_type == bundle_pb2.ELEMENT_UINT8 and integer:
        canvas = np.zeros((1, placement.height, placement.width), np.uint8)
        canvas[0, :height, :width] = resize_u8(grey, height, width)
        return canvas
    if spec.element_type != bundle_pb2.ELEMENT_FLOAT32:
        raise BundleError(
            Reason.BUNDLE_INVALID,
            "the network input combines an element type and a resampler that this "
            "runtime does not know; export the bundle again with this version",
        )
    if integer:
        resized = resize_u8(grey, height, width).astype(np.float32)
    else:
        resized = resize_f32(grey.astype(np.float32), height, width)
    return _normalised(resized, placement, spec)


def _normalised(
    resized: npt.NDArray[np.float32],
    placement: Placement,
    spec: bundle_pb2.NetworkInput,
) -> npt.NDArray[np.float32]:
    shape = (len(spec.mean), placement.height, placement.width)
    canvas = np.empty(shape, np.float32)
    height, width = resized.shape
    channels = zip(canvas, spec.mean, spec.std, spec.fill, strict=True)
    for channel, mean, std, fill in channels:
        channel[height:] = fill
        channel[:height, width:] = fill
        valid = channel[:height, :width]
        np.subtract(resized, np.float32(mean), out=valid)
        np.divide(valid, np.float32(std), out=valid)
    return canvas
