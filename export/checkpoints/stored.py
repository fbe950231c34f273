"""Compare what a file stores beside its weights with what its network will compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from spinert.export.architecture import Architecture
from spinert.export.checkpoints.style import Option, Style
from spinert.export.errors import CheckpointError

__all__ = ["check_anchors"]

_NEAR_PX: Final = 0.01
"""Between two ways to compute an anchor in float32. Rounding to whole pixels, as
torchvision does and detectron2 does not, moves the smallest by a third of a pixel."""


def check_anchors(
    tensors: Mapping[str, Tensor],
    architecture: Architecture,
    style: Style,
    options: Mapping[str, Option],
    source: str,
) -> None:
    """Compare the anchors in a file with those of the network's settings.

    Args:
        tensors: Of the file, under its keys.
        architecture: Knows the anchors and their keys.
        style: Tells whether such a key holds no weight.
        options: Of the recipe.
        source: The file's name, for messages.

    Raises:
        CheckpointError: The network was trained with other anchors.
    """
    for key, expected in architecture.anchors(options, tensors).items():
        if key not in tensors or not style.ignored(key):
            continue
        if difference := _difference(tensors[key], expected):
            ours = ", ".join(f"options.{o}" for o in sorted(options) if "anchor" in o)
            message = (
                f"{source}: {key} has {difference}: it was trained with other anchors; "
                f'change {ours} or import it as an ONNX file (architecture = "onnx")'
            )
            raise CheckpointError(message)


def _difference(found: Tensor, expected: Tensor) -> str:
    """Say what is different; empty if nothing is but rounding."""
    if not len(expected):
        return "anchors of no known input size"
    if found.shape != expected.shape or not found.is_floating_point():
        return f"shape {tuple(found.shape)}, not {tuple(expected.shape)}"
    # A file in half precision rounds its anchors too.
    rounding = torch.finfo(found.dtype).eps
    exact = found.to(torch.float64)
    near = torch.isclose(exact, expected.double(), rtol=rounding, atol=_NEAR_PX)
    wrong = (~near).any(dim=1).nonzero()
    if not len(wrong):
        return ""
    row = int(wrong[0])
    return f"{_box(found[row])} in row {row}, not {_box(expected[row])}"


def _box(corners: Tensor) -> str:
    return f"[{', '.join(f'{value:g}' for value in corners.tolist())}]"
