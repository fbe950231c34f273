"""What a training is resumed from, written so that a crash leaves the last one."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from spinert.export.errors import TrainingError

__all__ = ["read_checkpoint", "write_checkpoint"]


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint beside the old one, then put it in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(dict(state), partial)
    partial.replace(path)


def read_checkpoint(path: Path, fingerprint: str) -> Mapping[str, Any] | None:
    """Return the state to go on from, on the CPU; None where there is none yet.

    Args:
        path: Of the checkpoint.
        fingerprint: Of the settings and the data; the checkpoint's must be the same.

    Raises:
        TrainingError: The file is damaged, or of other settings or data.
    """
    if not path.exists():
        return None
    try:
        state: Mapping[str, Any] = torch.load(
            path, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        message = f"{path.name}: damaged; remove it and begin again"
        raise TrainingError(message) from error
    if state["fingerprint"] != fingerprint:
        message = "of other settings or data; choose another output folder"
        raise TrainingError(f"{path.name}: {message}")
    return state
