"""One image as one row of the input batch of every network that wants it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spinert.proto import bundle_pb2
from spinert.runtime.errors import BundleError, Reason
from spinert.runtime.image import Stored
from spinert.runtime.preprocess.canvas import Placement
from spinert.runtime.preprocess.contrast import LevelCounts
from spinert.runtime.preprocess.levels import Levels
from spinert.runtime.preprocess.resample import Target, resize_f32, resized_grey

__all__ = ["PREPROCESSING", "WantedInput", "network_inputs"]

PREPROCESSING = "spinert-preprocess-1"
"""Told with every answer; changes whenever a network input could change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedInput:
    """What a network takes, and where the image goes in it."""

    placement: Placement
    """`placement(rows, columns, spec.canvas)`."""
    spec: bundle_pb2.NetworkInput

    @property
    def is_integer(self) -> bool:
        """Tell whether resizing is that of Pillow, in integers."""
        resampler = self.spec.resampler
        return resampler == bundle_pb2.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST

    @property
    def is_uint8(self) -> bool:
        """Tell whether the network takes the canvas as it is."""
        return self.spec.element_type == bundle_pb2.ELEMENT_UINT8


def network_inputs(
    pixels: Stored, levels: Levels, wanted: Sequence[WantedInput]
) -> tuple[list[npt.NDArray[Any]], LevelCounts]:
    """Make the inputs of several networks in one pass over the image.

    Args:
        pixels: Stored values [rows, columns], C-contiguous.
        levels: Their grey levels.
        wanted: At most 8.

    Returns:
        For each: ELEMENT_UINT8: uint8 (1, H, W), padded with 0; the graph normalises
        and fills. ELEMENT_FLOAT32: float32 (C, H, W), (value - mean) / std, padded with
        `fill`. C-contiguous, owned by the caller. Beside them what was counted.

    Raises:
        BundleError: The element type or resampler is not one of this runtime.
    """
    targets = [_target(one, pixels.shape) for one in wanted]
    canvases, counts = resized_grey(pixels, levels, targets)
    made = [_finished(*pair) for pair in zip(canvases, wanted, strict=True)]
    return made, counts


def _target(wanted: WantedInput, shape: tuple[int, ...]) -> Target:
    """Return what the integer resampler makes of the image for this network."""
    place = wanted.placement
    height, width = place.valid_height, place.valid_width
    if wanted.is_uint8 and wanted.is_integer:
        return Target(
            valid_height=height,
            valid_width=width,
            height=place.height,
            width=place.width,
        )
    if wanted.spec.element_type != bundle_pb2.ELEMENT_FLOAT32:
        raise BundleError(
            Reason.BUNDLE_INVALID,
            "the network input combines an element type and a resampler that this "
            "runtime does not know; export the bundle again with this version",
        )
    if not wanted.is_integer:
        height, width = shape
    return Target(valid_height=height, valid_width=width, height=height, width=width)


def _finished(canvas: npt.NDArray[np.uint8], wanted: WantedInput) -> npt.NDArray[Any]:
    if wanted.is_uint8:
        return canvas[None]
    values, place = canvas.astype(np.float32), wanted.placement
    if not wanted.is_integer:
        values = resize_f32(values, place.valid_height, place.valid_width)
    return _normalised(values, place, wanted.spec)


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
