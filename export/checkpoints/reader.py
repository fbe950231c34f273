"""Read the tensors of a checkpoint without executing anything in it.

PyTorch files go through the restricted unpickler (`weights_only=True`), which
constructs tensors, containers and numbers only. Allowed besides, because common
training code stores them next to the weights: NumPy scalars (a threshold) and
`argparse.Namespace` (the training arguments). Everything else is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from spinert.export.errors import CheckpointError

__all__ = ["WRAPPERS", "read_tensors", "sha256_from_file"]

WRAPPERS: Final = ("model", "model_state_dict", "state_dict", "state_dict_ema")
"""Keys under which training code stores the weights."""

_PREFIXES: Final = ("module.", "model.")
_TORCH_SUFFIXES: Final = frozenset({".bin", ".ckpt", ".pt", ".pth", ".tar"})


def _allowed_globals() -> list[Any]:
    scalar = np.float32(0).__reduce__()[0]
    dtypes = {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"}
    return [
        argparse.Namespace,
        np.dtype,
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        *sorted(dtypes, key=lambda dtype: dtype.__name__),
    ]


def sha256_from_file(path: Path) -> str:
    """Return the lower-case hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _content(path: Path) -> object:
    """Return what the file holds; foreign exceptions end here."""
    if not path.is_file():
        raise CheckpointError(f"{path.name}: no such file; check the recipe's path")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            message = f"{path.name}: not a readable safetensors file; copy it again"
            raise CheckpointError(message) from error
    if path.suffix not in _TORCH_SUFFIXES:
        kinds = ", ".join(sorted({".safetensors", *_TORCH_SUFFIXES}))
        message = f"{path.name}: files of this kind are not read; use one of {kinds}"
        raise CheckpointError(message)
    try:
        allowed = torch.serialization.safe_globals(_allowed_globals())
        with allowed, warnings.catch_warnings():
            # On the pickle protocol and on old storages: nothing a user can act on.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        message = (
            f"{path.name}: holds more than tensors and is refused unexecuted; "
            "save the model's state_dict() alone, best as .safetensors"
        )
        raise CheckpointError(message) from error
    except Exception as error:  # a damaged or hostile file may raise anything
        message = f"{path.name}: damaged or not a PyTorch file; copy it again"
        raise CheckpointError(message) from error


def _unwrapped(content: object, name: str, wrapper: str | None) -> Mapping[Any, Any]:
    """Descend to the mapping that holds the tensors."""
    while isinstance(content, Mapping):
        inner = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if wrapper is not None and wrapper in inner:
            inner = [wrapper]
        if not inner:
            return content
        if len(inner) > 1:
            found = ", ".join(inner)
            message = f'{name}: weights under {found}; choose with wrapper = "..."'
            raise CheckpointError(message)
        content = content[inner[0]]
    raise CheckpointError(f"{name}: holds no state dict; save model.state_dict()")


def _without_prefixes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Drop what DataParallel, Lightning and benches put before every key."""
    for _ in range(4):  # "module.model.module." and alike; never without end
        shared = [p for p in _PREFIXES if all(key.startswith(p) for key in tensors)]
        if not tensors or not shared:
            break
        cut = len(shared[0])
        tensors = {key[cut:]: value for key, value in tensors.items()}
    return tensors


def read_tensors(path: Path, wrapper: str | None = None) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint under their keys, unwrapped.

    Args:
        path: `.safetensors`, or a PyTorch file (`.pth`, `.pt`, `.ckpt`, ...).
        wrapper: Which of `WRAPPERS` to take where a file has several.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, holds
            objects outside the allow-list, or no state dict.
    """
    mapping = _unwrapped(_content(path), path.name, wrapper)
    tensors: dict[str, torch.Tensor] = {}
    for key, value in mapping.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            message = (
                f"{path.name}: entry {key!r} of the state dict is no tensor; "
                "save model.state_dict()"
            )
            raise CheckpointError(message)
        tensors[key] = value
    if not tensors:
        raise CheckpointError(f"{path.name}: the state dict is empty")
    return _without_prefixes(tensors)
