"""Say which known network a file holds, where it does not hold the one asked for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from spinert.export.architecture import Architecture
from spinert.export.checkpoints.mapping import own_keys, style_from_tensors
from spinert.export.checkpoints.style import Option, Style
from spinert.export.errors import CheckpointError

__all__ = [
    "check_shown_options",
    "layouts_from_tensors",
    "recognised",
    "source_keys",
    "style_of_file",
]

_CLASSES = 1  # keys do not depend on it
_Layout = tuple[str, Architecture, Style]


def source_keys(architecture: Architecture, style: Style) -> frozenset[str]:
    """Return the keys of a file of this layout."""
    options = {**architecture.options, **style.options}
    with torch.device("meta"):
        network = architecture.build(options, _CLASSES)
    return frozenset(style.source_key(key) for key in own_keys(network))


def _recognisable(architecture: Architecture) -> list[Style]:
    return [style for style in architecture.styles if not style.by_name]


def _marked(
    tensors: Mapping[str, Tensor], architectures: Mapping[str, Architecture]
) -> list[_Layout]:
    return [
        (name, architecture, style)
        for name, architecture in architectures.items()
        for style in _recognisable(architecture)
        if style.source_key(style.marker) in tensors
    ]


def _fullest(tensors: Mapping[str, Tensor], layouts: list[_Layout]) -> list[_Layout]:
    """Return the layouts that a file has every key of, and most keys of the file.

    The keys of one layout can be among those of another: ResNet-50's are all in a file
    with ResNet-101.
    """
    counts = []
    for _, architecture, style in layouts:
        keys = source_keys(architecture, style)
        counts.append(len(keys) if keys <= tensors.keys() else 0)
    most = max(counts, default=0)
    pairs = zip(layouts, counts, strict=True)
    return [layout for layout, count in pairs if count == most > 0]


def style_of_file(
    tensors: Mapping[str, Tensor], architecture: Architecture, source: str
) -> Style:
    """Return the style whose marker is in the file; of several, one that fits whole.

    Raises:
        CheckpointError: None is, so the file is of another architecture; or several fit
            equally well, and their settings differ in what no key tells.
    """
    first = style_from_tensors(tensors, _recognisable(architecture), source)
    marked = _marked(tensors, {"": architecture})
    if len(marked) == 1:
        return first
    fullest = _fullest(tensors, marked)
    if len(fullest) > 1:
        choices = " or ".join(f'style = "{style.name}"' for _, _, style in fullest)
        message = f"{source}: the keys do not tell which layout it is; set {choices}"
        raise CheckpointError(message)
    return fullest[0][2] if fullest else first


def layouts_from_tensors(
    tensors: Mapping[str, Tensor], architectures: Mapping[str, Architecture]
) -> tuple[tuple[str, str], ...]:
    """Return the (architecture, style) pairs that a file can be.

    Those that have every key come alone; without any such, all whose marker is there.
    """
    marked = _marked(tensors, architectures)
    found = _fullest(tensors, marked) or marked
    return tuple((name, style.name) for name, _, style in found)


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
