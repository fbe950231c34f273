"""Stored values to a network's input, written for clearness, not for speed.

The twin of the runtime's implementation: the golden set holds the SHA-256 of what
this computes, and the runtime must arrive at the same bytes on its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from spinert.proto import bundle_pb2 as pb

__all__ = ["NetworkFrame", "grey_from_stored", "network_frame"]

Grey = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class NetworkFrame:
    """One frame as one network receives it."""

    image: npt.NDArray[Any]
    """uint8 (1,H,W), zeros beyond the valid area; or float32 (C,H,W), normalised and
    filled, where the bundle says ELEMENT_FLOAT32."""
    height: int
    """Of the valid area."""
    width: int

    @property
    def size(self) -> npt.NDArray[np.int32]:
        """The `image_size` input of this frame, int32 (2,)."""
        return np.array([self.height, self.width], dtype=np.int32)


@dataclass(frozen=True, kw_only=True)
class _Placement:
    """Where the resized image goes on its canvas; both as (height, width)."""

    valid: tuple[int, int]
    padded: tuple[int, int]


def grey_from_stored(
    stored: npt.NDArray[np.uint16 | np.float64],
    *,
    is_monochrome1: bool,
    rule: pb.GreyRule,
) -> Grey:
    """Stretch to 0..255 as the official dicom2png.py does, for images without VOI.

    Args:
        stored: uint16 (rows, columns), or float64 after a window; not constant.
        is_monochrome1: Low values are bright; inverted if the rule says so.
        rule: The bundle's.
    """
    values = stored.astype(np.float64)
    if is_monochrome1 and rule.invert_monochrome1:
        values = values.max() - values
    values = values - values.min()
    values = values / values.max()
    grey: Grey = (values * 255).astype(np.uint8)
    return grey


def _by_pillow(grey: Grey, height: int, width: int) -> Grey:
    """Resample with Pillow's antialiased bilinear filter, horizontal pass first.

    Two calls fix the order of the passes, which Pillow 13 chooses itself.
    """
    image = Image.fromarray(grey)
    image = image.resize((width, grey.shape[0]), Image.Resampling.BILINEAR)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _neighbours(length: int, target: int) -> tuple[list[int], list[int], Float]:
    """Return both source indices and the second's weight for every target index.

    The position is that of torch's `area_pixel_compute_source_index`, a fused
    multiply-add in float32: exact in float64, then rounded once.
    """
    scale = float(np.float32(length) / np.float32(target))
    first, second, weights = [], [], []
    for index in range(target):
        position = max(np.float32((index + 0.5) * scale - 0.5), np.float32(0))
        before = min(int(position), length - 1)
        first.append(before)
        second.append(min(before + 1, length - 1))
        weights.append(np.float32(position - np.float32(before)))
    return first, second, np.array(weights, dtype=np.float32)


def _by_torch_rule(grey: Grey, height: int, width: int) -> Float:
    """Interpolate bilinearly between four pixels, in float32, without antialiasing.

    The order of the roundings is fixed, because torch's own result depends on the
    processor: vertically on both sides first, then horizontally between them.
    """
    values = grey.astype(np.float32)
    top, bottom, down = _neighbours(grey.shape[0], height)
    left, right, across = _neighbours(grey.shape[1], width)
    down, up = down[:, None], (np.float32(1) - down)[:, None]
    on_left = values[np.ix_(top, left)] * up + values[np.ix_(bottom, left)] * down
    on_right = values[np.ix_(top, right)] * up + values[np.ix_(bottom, right)] * down
    blended: Float = on_left * (np.float32(1) - across) + on_right * across
    return blended


def _padded_to(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _shortest_edge(rows: int, columns: int, edge: pb.ShortestEdge) -> tuple[int, int]:
    """Return (height, width) as detectron2's ResizeShortestEdge.get_output_shape."""
    scale = edge.short_edge / min(rows, columns)
    height, width = (
        (float(edge.short_edge), scale * columns)
        if rows < columns
        else (scale * rows, float(edge.short_edge))
    )
    if max(height, width) > edge.max_long_edge:
        shrink = edge.max_long_edge / max(height, width)
        height, width = height * shrink, width * shrink
    return max(1, int(height + 0.5)), max(1, int(width + 0.5))


def _floored_edge(rows: int, columns: int, edge: pb.ShortestEdge) -> tuple[int, int]:
    """Return (height, width) as torchvision 0.28's GeneralizedRCNNTransform.

    float64 as in its eager mode; 800 can become 799.
    """
    to_short = edge.short_edge / min(rows, columns)
    to_long = edge.max_long_edge / max(rows, columns)
    scale = min(to_short, to_long)
    return max(1, math.floor(rows * scale)), max(1, math.floor(columns * scale))


def _letterbox(rows: int, columns: int, box: pb.Letterbox) -> tuple[int, int]:
    """Return (height, width) of the scaled image, truncated as effdet's ResizePad."""
    scale = min(box.height / rows, box.width / columns)
    return max(1, int(rows * scale)), max(1, int(columns * scale))


def _placement(rows: int, columns: int, canvas: pb.CanvasPolicy) -> _Placement:
    kind = canvas.WhichOneof("kind")
    if kind == "fixed":
        valid = (canvas.fixed.height, canvas.fixed.width)
        return _Placement(valid=valid, padded=valid)
    if kind == "letterbox":
        box = canvas.letterbox
        valid = _letterbox(rows, columns, box)
        return _Placement(valid=valid, padded=(box.height, box.width))
    if kind == "shortest_edge":
        edge = canvas.shortest_edge
        down = edge.rounding == pb.ROUND_DOWN
        valid = (_floored_edge if down else _shortest_edge)(rows, columns, edge)
        multiple = edge.pad_multiple
    else:
        valid = rows, columns
        multiple = canvas.native.pad_multiple
    height, width = (_padded_to(length, multiple) for length in valid)
    return _Placement(valid=valid, padded=(height, width))


def _normalised(
    resized: npt.NDArray[Any], padded: tuple[int, int], stated: pb.NetworkInput
) -> Float:
    """Return float32 (C,H,W): one subtraction, one division, then the fill."""
    height, width = resized.shape
    channels = []
    for mean, std, fill in zip(stated.mean, stated.std, stated.fill, strict=True):
        channel = np.full(padded, fill, dtype=np.float32)
        centred = resized.astype(np.float32) - np.float32(mean)
        channel[:height, :width] = centred / np.float32(std)
        channels.append(channel)
    return np.stack(channels)


def network_frame(grey: Grey, stated: pb.NetworkInput) -> NetworkFrame:
    """Make a network's input of a grey image.

    Args:
        grey: uint8 (rows, columns).
        stated: Canvas, resampler, element type and, for ELEMENT_FLOAT32, statistics.
            ELEMENT_UINT8 is resampled by Pillow's rule, whatever is stated.
    """
    rows, columns = grey.shape
    place = _placement(rows, columns, stated.canvas)
    height, width = place.valid
    if stated.element_type == pb.ELEMENT_FLOAT32:
        is_torch = stated.resampler == pb.TORCH_BILINEAR_F32
        resized = (_by_torch_rule if is_torch else _by_pillow)(grey, height, width)
        image: npt.NDArray[Any] = _normalised(resized, place.padded, stated)
    else:
        image = np.zeros((1, *place.padded), dtype=np.uint8)
        image[0, :height, :width] = _by_pillow(grey, height, width)
    return NetworkFrame(image=image, height=height, width=width)
