"""Key layouts in which checkpoints come, as renamings of the networks' own keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = [
    "SPARSERCNN",
    "TORCHVISION_DENSENET",
    "TORCHVISION_DENSENET_OLD",
    "VINDR_DENSENET",
    "Option",
    "Style",
]

Option = bool | int | float
"""A setting that no weight shows."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """One layout: how a network's own key is spelled in the file."""

    name: str
    source_key: Callable[[str], str]
    """Own key to the file's key; one to one."""
    marker: str
    """An own key whose spelling only this style has: it tells styles apart."""
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    """Settings that come with this layout."""


def _same(key: str) -> str:
    return key


_DENSENET_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^backbone\.stem\.0\.", "features.conv0."),
        (r"^backbone\.stem\.1\.", "features.norm0."),
        (r"^backbone\.block(\d)\.", r"features.denseblock\1."),
        (r"^backbone\.", "features."),
        (r"^head\.heads\.0\.", "classifier."),
    )
)


def _torchvision_densenet(key: str) -> str:
    for pattern, replacement in _DENSENET_RULES:
        if pattern.match(key):
            return pattern.sub(replacement, key)
    return key


def _torchvision_densenet_old(key: str) -> str:
    """Spell `norm1` in a dense layer as `norm.1`, as files before 2019 do."""
    key = _torchvision_densenet(key)
    return re.sub(r"(\.denselayer\d+\.)(norm|conv)([12])\.", r"\1\2.\3.", key)


_DENSENET_MARKER = "backbone.block1.denselayer1.norm1.weight"

VINDR_DENSENET = Style(
    name="vindr",
    source_key=_same,
    marker=_DENSENET_MARKER,
    options=MappingProxyType({"final_relu": False}),
)
"""vinbigdata-medical/vindr-spinexr, spine/classification: no ReLU after norm5."""

TORCHVISION_DENSENET = Style(
    name="torchvision",
    source_key=_torchvision_densenet,
    marker=_DENSENET_MARKER,
    options=MappingProxyType({"final_relu": True}),
)
"""torchvision.models.densenet: ReLU after norm5."""

TORCHVISION_DENSENET_OLD = Style(
    name="torchvision_old",
    source_key=_torchvision_densenet_old,
    marker=_DENSENET_MARKER,
    options=MappingProxyType({"final_relu": True}),
)
"""The same, with the key form of torchvision's published weights (`norm.1`)."""

SPARSERCNN = Style(
    name="sparsercnn",
    source_key=_same,
    marker="init_proposal_features.weight",
)
"""PeizeSun/SparseR-CNN and the VinDr-SpineXR detector."""
