"""Strict loading: every key is accounted for, or nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, isfinite, nn

from spinert.export.checkpoints.style import Style
from spinert.export.errors import CheckpointError

__all__ = [
    "check_values",
    "load_strictly",
    "own_keys",
    "own_tensors",
    "style_from_tensors",
]

_COUNTER = ".num_batches_tracked"
_SHOWN = 6


def own_keys(network: nn.Module) -> list[str]:
    """Return the keys a network needs; batch counters are not among them."""
    return [key for key in network.state_dict() if not key.endswith(_COUNTER)]


def style_from_tensors(
    tensors: Mapping[str, Tensor], styles: Sequence[Style], source: str
) -> Style:
    """Return the style whose marker is in the file.

    Raises:
        CheckpointError: None is, so the file is of another architecture.
    """
    for style in styles:
        if style.source_key(style.marker) in tensors:
            return style
    known = ", ".join(f"{s.name} ({s.source_key(s.marker)})" for s in styles)
    message = (
        f"{source}: key layout not recognised, first key {min(tensors)!r}; known "
        f"layouts by one of their keys: {known}; check the architecture"
    )
    raise CheckpointError(message)


def _some(keys: Iterable[str]) -> str:
    names = sorted(keys)
    shown = ", ".join(names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def own_tensors(
    tensors: Mapping[str, Tensor], network: nn.Module, style: Style, source: str
) -> dict[str, Tensor]:
    """Return the file's tensors under the network's own keys.

    Raises:
        CheckpointError: Keys are missing or left over; both are named.
    """
    own = {style.source_key(key): key for key in own_keys(network)}
    missing = own.keys() - tensors.keys()
    extra = {
        key
        for key in tensors.keys() - own.keys()
        if not key.endswith(_COUNTER) and not style.ignored(key)
    }
    if missing or extra:
        parts = [
            f"{what} {_some(keys)}"
            for what, keys in (("missing", missing), ("unexpected", extra))
            if keys
        ]
        message = (
            f"{source}: keys do not fit the {style.name} layout: {'; '.join(parts)}; "
            "check architecture and style"
        )
        raise CheckpointError(message)
    return {key: tensors[name] for name, key in own.items()}


def check_values(
    network: nn.Module, own: Mapping[str, Tensor], style: Style, source: str
) -> None:
    """Check that tensors can be copied into a network.

    Args:
        network: Of the right shapes; may be on the device "meta".
        own: From `own_tensors`.
        style: Names keys in messages as the file spells them.
        source: The file's name, for messages.

    Raises:
        CheckpointError: A shape differs or a value is NaN or infinite.
    """
    state = network.state_dict()
    misshapen = [
        f"{style.source_key(key)} {tuple(value.shape)}, not {tuple(state[key].shape)}"
        for key, value in own.items()
        if value.shape != state[key].shape
    ]
    if misshapen:
        message = (
            f"{source}: wrong shapes: {_some(misshapen)}; check architecture, options "
            "and the number of classes"
        )
        raise CheckpointError(message)
    poisoned = [
        style.source_key(k) for k, v in own.items() if not bool(isfinite(v).all())
    ]
    if poisoned:
        message = (
            f"{source}: NaN or infinity in {_some(poisoned)}; "
            "training diverged or the file is damaged: use an earlier checkpoint"
        )
        raise CheckpointError(message)


def load_strictly(
    network: nn.Module, own: Mapping[str, Tensor], style: Style, source: str
) -> None:
    """Copy tensors into a network, all of them or none; arguments as `check_values`.

    Raises:
        CheckpointError: A shape differs or a value is NaN or infinite.
    """
    check_values(network, own, style, source)
    network.load_state_dict(dict(own), strict=False)
