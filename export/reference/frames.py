"""Frames to train on, kept as 8-bit network inputs: written once, read often.

A folder per split holds `classifier.npy` uint8 (N,1,c,c), `detector.npy` uint8
(N,1,d,d), `sizes.npy` int32 (N,2) with the detector's valid (height, width),
`abnormal.npy` bool (N,), `boxes.npy` float32 (B,4) with xyxy in pixels of the
detector's input, `labels.npy` int64 (B,), `owners.npy` int64 (B,) with the frame of
each box, and `split.json`, which comes last and says what was rendered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor

from spinert.export.architecture import CLASSIFIER
from spinert.export.errors import TrainingError

__all__ = ["NO_BOX", "SPLIT", "Frames", "frames_from_folder", "padded_boxes"]

SPLIT: Final = "split.json"
NO_BOX: Final = -1
"""Label of a row that holds no box."""


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Frames of one role; all tensors are on one device."""

    images: Tensor
    """uint8 or float32 (N,1,E,E), grey values from 0 to 255."""
    sizes: Tensor
    """int32 (N,2), valid (height, width)."""
    abnormal: Tensor
    """bool (N,)."""
    boxes: Tensor
    """float32 (N,M,4), xyxy in pixels of `images`; M as the fullest frame needs."""
    labels: Tensor
    """int64 (N,M); `NO_BOX` where there is none."""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.images)

    @property
    def edge_px(self) -> int:
        """Of the square canvas."""
        return int(self.images.shape[-1])

    def at(self, index: Tensor) -> Self:
        """Return these frames, float32; `index` int64 (n,) on the CPU."""
        here = index.to(self.images.device)
        return type(self)(
            images=self.images[here].float(),
            sizes=self.sizes[here],
            abnormal=self.abnormal[here],
            boxes=self.boxes[here],
            labels=self.labels[here],
        )

    def on(self, device: torch.device) -> Self:
        """Return the frames in the memory of a device."""
        return type(self)(
            images=self.images.to(device),
            sizes=self.sizes.to(device),
            abnormal=self.abnormal.to(device),
            boxes=self.boxes.to(device),
            labels=self.labels.to(device),
        )


def padded_boxes(
    boxes: Tensor, labels: Tensor, owners: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Arrange boxes by frame.

    Args:
        boxes: float32 (B,4).
        labels: int64 (B,).
        owners: int64 (B,), rising: the frame of each.
        count: Of frames.

    Returns:
        float32 (N,M,4) and int64 (N,M); at least one row, so that shapes hold.
    """
    per_frame = torch.bincount(owners, minlength=count)
    rows = max(1, int(per_frame.max())) if len(owners) else 1
    starts = per_frame.cumsum(0) - per_frame
    row = torch.arange(len(owners)) - starts[owners]
    arranged = torch.zeros((count, rows, 4))
    own = torch.full((count, rows), NO_BOX, dtype=torch.int64)
    arranged[owners, row] = boxes
    own[owners, row] = labels
    return arranged, own


def _stated(folder: Path) -> Mapping[str, Any]:
    try:
        stated: Mapping[str, Any] = json.loads((folder / SPLIT).read_text())
    except (OSError, ValueError) as error:
        message = f"{folder.name}: holds no rendered split; run the rendering first"
        raise TrainingError(message) from error
    return stated


def frames_from_folder(
    folder: Path, role: str, stated: Mapping[str, Any] | None = None
) -> Frames:
    """Map a split's files into memory; nothing is read before it is used.

    Args:
        folder: Of one split.
        role: `CLASSIFIER` or `DETECTOR`: whose inputs.
        stated: What `split.json` must say; None: anything.

    Raises:
        TrainingError: The split is missing, or is not the one stated.
    """
    found = _stated(folder)
    for key, value in (stated or {}).items():
        if found.get(key) != value:
            message = f"{key} is {found.get(key)}, not {value}: render it again"
            raise TrainingError(f"{folder.name}: {message}")
    # Copy on write: torch wants writable memory, and the files stay as they are.
    arrays = {
        name: torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))
        for name in (role, "sizes", "abnormal", "boxes", "labels", "owners")
    }
    images, sizes = arrays[role], arrays["sizes"]
    boxes, labels = padded_boxes(
        arrays["boxes"], arrays["labels"], arrays["owners"], len(images)
    )
    if role == CLASSIFIER:
        filled = torch.full_like(sizes, images.shape[-1])
        # Both axes are stretched until the image fills the canvas.
        boxes = boxes * (filled / sizes).flip(1).repeat(1, 2)[:, None]
        sizes = filled
    return Frames(
        images=images,
        sizes=sizes,
        abnormal=arrays["abnormal"],
        boxes=boxes,
        labels=labels,
    )
