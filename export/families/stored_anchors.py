"""Anchors as training code stores them beside the weights, made from our settings.

They are no weights, but they show settings that no weight does: a file whose anchors
are others would be loaded and answer wrongly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from spinert.export.networks.anchors import AnchorSpec, cell_anchors
from spinert.export.networks.efficientdet import AnchorShapes, anchors

__all__ = [
    "EFFDET_ANCHORS",
    "early_buffers",
    "effdet_anchors",
    "stored_cell_anchors",
]

EFFDET_ANCHORS: Final = "anchors.boxes"
"""effdet's DetBenchTrain has the anchors of all levels under this key."""

_LEVELS: Final = 5
_STRIDE: Final = 128
"""Of EfficientDet's coarsest level; effdet's sizes are multiples of it."""
_NONE: Final[Mapping[str, Tensor]] = MappingProxyType({})


def _cell_anchor_keys(generator: str) -> tuple[str, ...]:
    """Return one key for each level, finest first."""
    return tuple(f"{generator}.cell_anchors.{level}" for level in range(_LEVELS))


def early_buffers(generator: str) -> frozenset[str]:
    """Return the keys of detectron2 files before 2021 that hold no weight.

    Args:
        generator: Key of the network's anchor generator.
    """
    return frozenset(("pixel_mean", "pixel_std", *_cell_anchor_keys(generator)))


def stored_cell_anchors(generator: str, spec: AnchorSpec) -> dict[str, Tensor]:
    """Return what detectron2 before 2021 stores: float32 (A,4) of each level's cell."""
    keys = _cell_anchor_keys(generator)
    return {
        key: cell_anchors(sizes, spec)
        for key, sizes in zip(keys, spec.sizes, strict=True)
    }


def effdet_anchors(
    shapes: AnchorShapes, tensors: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Return what effdet stores with these anchors, for the input size of a file.

    Args:
        shapes: Of the anchors of each cell.
        tensors: Of the file; nothing is compared where it has no anchors.

    Returns:
        By its key: float32 (A,4), y_min, x_min, y_max, x_max; of no row where the
        file's are of no input size at all.
    """
    if EFFDET_ANCHORS not in tensors:
        return _NONE
    found = tensors[EFFDET_ANCHORS]
    height, width = _input_size(found)
    cells = sum(height * width // 4**level for level in range(3, 3 + _LEVELS))
    if not cells or len(found) != cells * shapes.per_cell:
        return {EFFDET_ANCHORS: torch.empty((0, 4))}
    table = anchors(shapes, height, width)
    centres, half = table[:, :2], table[:, 2:] / 2
    return {EFFDET_ANCHORS: torch.cat((centres - half, centres + half), dim=1)}


def _input_size(boxes: Tensor) -> tuple[int, int]:
    """Return height and width by the last anchor: half a coarsest cell from the end."""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        return 0, 0
    y_min, x_min, y_max, x_max = boxes[-1].to(torch.float64).tolist()
    ends = ((y_min + y_max + _STRIDE) / 2, (x_min + x_max + _STRIDE) / 2)
    if not all(math.isfinite(end) and end >= _STRIDE for end in ends):
        return 0, 0
    height, width = (round(end / _STRIDE) * _STRIDE for end in ends)
    return height, width
