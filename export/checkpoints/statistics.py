"""Mean and deviation of pixels, where a checkpoint stores them beside its weights.

detectron2 before 2021 did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from spinert.export.checkpoints.style import Style
from spinert.export.errors import CheckpointError

__all__ = ["pixel_statistics"]

_NAMES: Final = {"pixel_mean": "mean", "pixel_std": "std"}
_CHANNELS: Final = 3


def _misfit(key: str, values: Tensor) -> str:
    """Say what is wrong with a statistic; empty if nothing is."""
    if values.numel() != _CHANNELS:
        return f"has {values.numel()} values, not one for each of {_CHANNELS} channels"
    if values.is_meta:
        return "holds no values"
    if not bool(torch.isfinite(values).all()):
        return "is NaN or infinite"
    if key == "pixel_std" and not bool((values > 0).all()):
        return "is not above 0"
    return ""


def pixel_statistics(
    tensors: Mapping[str, Tensor], style: Style, source: str
) -> dict[str, list[float]]:
    """Return what a file has of `mean` and `std`, in its own order of channels.

    Args:
        tensors: Of the file, under its keys.
        style: Tells whether they are statistics there.
        source: The file's name, for messages.

    Raises:
        CheckpointError: They are no statistics of three channels.
    """
    found: dict[str, list[float]] = {}
    for key, name in _NAMES.items():
        if key not in tensors or not style.ignored(key):
            continue
        values = tensors[key].flatten().to(torch.float64)
        if misfit := _misfit(key, values):
            message = (
                f"{source}: {key} {misfit}; use an undamaged file, or delete the key "
                f"and state bundle.networks.detector.input.{name}"
            )
            raise CheckpointError(message)
        found[name] = values.tolist()
    return found
