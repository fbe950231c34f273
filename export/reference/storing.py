"""Trained weights as half-precision safetensors in an official key layout.

Convolutions and linear maps are stored in half. Everything of one dimension (norms
with their statistics, biases, fusion weights) stays float32: a variance may lie
outside of half, and together they are few.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from spinert.export.checkpoints.mapping import own_keys
from spinert.export.checkpoints.style import Style
from spinert.export.errors import TrainingError

__all__ = ["NOTICE", "half_tensors", "store_weights"]

NOTICE: Final = (
    "Reference network, trained on computer-made phantoms alone. Not for patients."
)


def half_tensors(network: nn.Module, style: Style) -> dict[str, Tensor]:
    """Return a network's tensors under a style's keys, as they are stored.

    Raises:
        TrainingError: A weight is not finite or outside of half precision.
    """
    state = network.state_dict()
    stored = {}
    for key in own_keys(network):
        value = state[key].detach().cpu().contiguous()
        kept = value.to(torch.float16) if value.ndim > 1 else value.to(torch.float32)
        if not bool(torch.isfinite(kept).all()):
            message = f"{key}: has weights beyond half precision; lower learning_rate"
            raise TrainingError(message)
        stored[style.source_key(key)] = kept
    return stored


def store_weights(
    path: Path, network: nn.Module, style: Style, facts: Mapping[str, str]
) -> None:
    """Write weights that `spinert export` reads.

    Args:
        path: A `.safetensors` file, replaced where it exists.
        network: Whose.
        style: The key layout.
        facts: For the header, beside the notice.

    Raises:
        TrainingError: A weight is not finite or outside of half precision.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"format": "pt", "notice": NOTICE, **facts}
    save_file(half_tensors(network, style), path, metadata=header)
