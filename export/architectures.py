"""Every network that a recipe can name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from spinert.export.architecture import Architecture
from spinert.export.families import densenet, sparse_rcnn

__all__ = ["ARCHITECTURES"]

ARCHITECTURES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {**densenet.ENTRIES, **sparse_rcnn.ENTRIES}
)
