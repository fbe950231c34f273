"""Say which known network a file holds, where it does not hold the one asked for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from spinert.export.architecture import Architecture
from spinert.export.checkpoints.mapping import own_keys
from spinert.export.checkpoints.style import Option, Style
from spinert.export.errors import CheckpointError

__all__ = ["check_shown_options", "layouts_from_tensors", "recognised"]

_CLASSES = 1  # keys do not depend on it


def _keys_fit(
    tensors: Mapping[str, Tensor], architecture: Architecture, style: Style
) -> bool:
    options = {**architecture.options, **style.options}
    with torch.device("meta"):
        network = architecture.build(options, _CLASSES)
    return all(style.source_key(key) in tensors for key in own_keys(network))


def layouts_from_tensors(
    tensors: Mapping[str, Tensor], architectures: Mapping[str, Architecture]
) -> tuple[tuple[str, str], ...]:
    """Return the (architecture, style) pairs that a file can be.

    Those that have every key come alone; without any such, all whose marker is there.
    """
    marked = [
        (name, architecture, style)
        for name, architecture in architectures.items()
        for style in architecture.styles
        if style.source_key(style.marker) in tensors
    ]
    complete = [entry for entry in marked if _keys_fit(tensors, *entry[1:])]
    return tuple((name, style.name) for name, _, style in complete or marked)


def recognised(
    tensors: Mapping[str, Tensor],
    architectures: Mapping[str, Architecture],
    *,
    asked: str,
) -> str:
    """Return the end of a message: what the file looks like.

    Empty if that is unknown, or nothing but the architecture that was `asked` for.
    """
    layouts = layouts_from_tensors(tensors, architectures)
    names = list(dict.fromkeys(name for name, _ in layouts))
    if not names or asked in names:
        return ""
    styles = " or ".join(dict.fromkeys(style for _, style in layouts))
    choices = " or ".join(f'"{name}"' for name in names)
    return f"; the keys are those of {styles}: set architecture = {choices}"


def check_shown_options(
    own: Mapping[str, Tensor],
    architecture: Architecture,
    options: Mapping[str, Option],
    source: str,
) -> None:
    """Compare options with what the weights show of them.

    Raises:
        CheckpointError: They differ; says what to set.
    """
    for option, (key, axis) in architecture.shown.items():
        found = own[key].shape[axis] if own[key].ndim > axis else options[option]
        if found != options[option]:
            message = (
                f"{source}: has {found} {option}, not {options[option]}; "
                f"set options.{option} = {found}"
            )
            raise CheckpointError(message)
