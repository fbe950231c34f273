"""Read the tensors of a checkpoint without executing anything in it.

PyTorch files go through the restricted unpickler (`weights_only=True`), which
constructs tensors, containers and numbers only. Allowed besides, because common
training code stores them next to the weights: NumPy scalars (a threshold) and
`argparse.Namespace` (the training arguments). The pickles of detectron2's model zoo
(`.pkl`: arrays and plain containers) have a reader of their own, which allows less.
Everything else is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from spinert.export.checkpoints.beside import threshold_beside
from spinert.export.checkpoints.pickled_values import RefusedPickle
from spinert.export.checkpoints.restricted_pickle import content_from_pickle
from spinert.export.errors import CheckpointError

__all__ = [
    "WRAPPERS",
    "Checkpoint",
    "read_checkpoint",
    "read_tensors",
    "sha256_from_file",
]

WRAPPERS: Final = ("model", "model_state_dict", "state_dict", "state_dict_ema")
"""Keys under which training code stores the weights."""

_PREFIXES: Final = ("module.", "model.")
# effdet's DetBenchTrain stores its anchors beside the model, without its prefix.
_UNPREFIXED: Final = frozenset({"anchors.boxes"})
_MAX_WRAPPERS: Final = 8
"""Deeper nesting is no wrapping; a hostile file can even contain itself."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was read of a file."""

    tensors: dict[str, torch.Tensor]
    wrappers: tuple[str, ...]
    """Keys under which they lay, the outermost first; empty where they lay bare."""
    threshold: float | None
    """Operating point that lies beside them."""


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


def _safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        message = f"{path.name}: not a readable safetensors file; copy it again"
        raise CheckpointError(message) from error


def _is_torchscript(path: Path) -> bool:
    """Tell by the names in an archive; weights alone have neither."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except Exception:  # a damaged or hostile file may raise anything
        return False
    has_code = any(name.startswith("code/") for name in names)
    return has_code and "constants.pkl" in names


def _torch_file(path: Path) -> object:
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
        if _is_torchscript(path):
            message = (
                f"{path.name}: a TorchScript program, which is not run; save the "
                "state_dict() of the model it was made of"
            )
        raise CheckpointError(message) from error


def _zoo_pickle(path: Path) -> object:
    try:
        with path.open("rb") as stream:
            return content_from_pickle(stream, path.stat().st_size)
    except RefusedPickle as error:
        message = (
            f"{path.name}: holds more than arrays ({error}) and is refused unexecuted; "
            "save the model's state_dict() alone, best as .safetensors"
        )
        raise CheckpointError(message) from error
    except Exception as error:  # a damaged or hostile file may raise anything
        message = f"{path.name}: damaged or not a pickle of arrays; copy it again"
        raise CheckpointError(message) from error


_READERS: Final[Mapping[str, Callable[[Path], object]]] = MappingProxyType(
    {
        ".bin": _torch_file,
        ".ckpt": _torch_file,
        ".pkl": _zoo_pickle,
        ".pt": _torch_file,
        ".pth": _torch_file,
        ".safetensors": _safetensors,
        ".tar": _torch_file,
    }
)


def _content(path: Path) -> object:
    """Return what the file holds; foreign exceptions end here."""
    if not path.is_file():
        raise CheckpointError(f"{path.name}: no such file; check the recipe's path")
    reader = _READERS.get(path.suffix)
    if reader is None:
        kinds = ", ".join(_READERS)
        message = f"{path.name}: files of this kind are not read; use one of {kinds}"
        if path.suffix == ".onnx":
            message = f'{path.name}: an ONNX file needs architecture = "onnx"'
        raise CheckpointError(message)
    return reader(path)


def _next_wrapper(inner: list[str], name: str, wrapper: str | None) -> str:
    """Return the one of several keys under which to go on."""
    if wrapper is not None and wrapper in inner:
        return wrapper
    if len(inner) == 1:
        return inner[0]
    found = ", ".join(inner)
    raise CheckpointError(f'{name}: weights under {found}; choose with wrapper = "..."')


def _check_wrapper(taken: list[str], name: str, wrapper: str | None) -> None:
    """Refuse other weights than the recipe asks for."""
    if wrapper is None or wrapper in taken:
        return
    others = f"only {', '.join(taken)}" if taken else "the weights lie in it bare"
    way_out = f'remove wrapper = "{wrapper}" if these are meant'
    raise CheckpointError(f"{name}: holds no {wrapper}, {others}; {way_out}")


def _unwrapped(
    content: object, name: str, wrapper: str | None
) -> tuple[Mapping[Any, Any], tuple[str, ...]]:
    """Descend to the mapping that holds the tensors; return the keys on the way too."""
    taken: list[str] = []
    for _ in range(_MAX_WRAPPERS):
        if not isinstance(content, Mapping):
            break
        inner = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            _check_wrapper(taken, name, wrapper)
            return content, tuple(taken)
        taken.append(_next_wrapper(inner, name, wrapper))
        content = content[taken[-1]]
    raise CheckpointError(f"{name}: holds no state dict; save model.state_dict()")


def _without_prefixes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Drop what DataParallel, Lightning and benches put before every key."""
    for _ in range(4):  # "module.model.module." and alike; never without end
        named = tensors.keys() - _UNPREFIXED
        shared = [p for p in _PREFIXES if all(key.startswith(p) for key in named)]
        if not named or not shared:
            break
        tensors = {key.removeprefix(shared[0]): v for key, v in tensors.items()}
    return tensors


def read_checkpoint(path: Path, wrapper: str | None = None) -> Checkpoint:
    """Return the tensors of a file under their keys, unwrapped.

    Args:
        path: `.safetensors`, a PyTorch file (`.pth`, `.pt`, `.ckpt`, ...), or a
            pickle of arrays (`.pkl`).
        wrapper: Which of `WRAPPERS` to take; None: the only one, if there is any.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, holds
            objects outside the allow-list, no state dict, or no such wrapper.
    """
    content = _content(path)
    mapping, wrappers = _unwrapped(content, path.name, wrapper)
    tensors: dict[str, torch.Tensor] = {}
    for key, value in mapping.items():
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value.copy())
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            message = (
                f"{path.name}: entry {key!r} of the state dict is no tensor; "
                "save model.state_dict()"
            )
            raise CheckpointError(message)
        tensors[key] = value
    if not tensors:
        raise CheckpointError(f"{path.name}: the state dict is empty")
    return Checkpoint(
        tensors=_without_prefixes(tensors),
        wrappers=wrappers,
        threshold=threshold_beside(content, wrappers),
    )


def read_tensors(path: Path, wrapper: str | None = None) -> dict[str, torch.Tensor]:
    """Return the tensors of `read_checkpoint` alone."""
    return read_checkpoint(path, wrapper).tensors
