"""Key layouts in which checkpoints come, as renamings of the networks' own keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["Option", "Style", "same_key"]

Option = bool | int | float | str
"""A setting that no weight shows."""


def same_key(key: str) -> str:
    """Spell a key as the network does itself."""
    return key


def _none(_key: str) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Style:
    """One layout: how a network's own key is spelled in the file."""

    name: str
    source_key: Callable[[str], str] = same_key
    """Own key to the file's key; one to one."""
    marker: str
    """An own key whose spelling only this style has: it tells styles apart."""
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    """Settings that come with this layout."""
    network: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Protobuf JSON of `spinert.v1.Network`: the preprocessing and post-processing
    that come with this layout. Laid over the preset, under the recipe."""
    ignored: Callable[[str], bool] = _none
    """Tells which keys of the file hold no weight, such as anchors."""
    by_name: bool = False
    """Has the keys of another layout: taken only where a recipe names it."""
    asks: tuple[str, ...] = ()
    """Fields of `DetectionRule` that nothing tells: the recipe has to state them."""
