"""Every network that a recipe can name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from spinert.export.architecture import Architecture
from spinert.export.families import (
    densenet,
    efficientdet,
    faster_rcnn,
    retinanet,
    sparse_rcnn,
)

__all__ = ["ARCHITECTURES"]

ARCHITECTURES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {
        **densenet.ENTRIES,
        **efficientdet.ENTRIES,
        **faster_rcnn.ENTRIES,
        **retinanet.ENTRIES,
        **sparse_rcnn.ENTRIES,
    }
)
