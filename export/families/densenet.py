"""DenseNet-121, 169 and 201: official and torchvision checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor, nn

from spinert.export.architecture import CLASSIFIER, Architecture
from spinert.export.checkpoints.style import Option, Style
from spinert.export.networks.densenet import (
    DENSENET121,
    DENSENET169,
    DENSENET201,
    DenseNet,
    DenseNetSpec,
)
from spinert.export.untrained.densenet import calibrate_densenet

__all__ = [
    "ENTRIES",
    "TORCHVISION_DENSENET",
    "TORCHVISION_DENSENET_OLD",
    "VINDR_DENSENET",
    "densenet",
]

_RULES: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^backbone\.stem\.0\.", "features.conv0."),
        (r"^backbone\.stem\.1\.", "features.norm0."),
        (r"^backbone\.block(\d)\.", r"features.denseblock\1."),
        (r"^backbone\.", "features."),
        (r"^head\.heads\.0\.", "classifier."),
    )
)


def _torchvision(key: str) -> str:
    for pattern, replacement in _RULES:
        if pattern.match(key):
            return pattern.sub(replacement, key)
    return key


def _torchvision_old(key: str) -> str:
    """Spell `norm1` in a dense layer as `norm.1`, as files before 2019 do."""
    key = _torchvision(key)
    return re.sub(r"(\.denselayer\d+\.)(norm|conv)([12])\.", r"\1\2.\3.", key)


_IMAGENET: Final[Mapping[str, Any]] = MappingProxyType(
    {
        # (0.485, 0.456, 0.406; 0.229, 0.224, 0.225) times 255, in RGB order.
        "input": {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
    }
)
"""Of torchvision's published weights, and of what was fine-tuned from them."""

_MARKER: Final = "backbone.block1.denselayer1.norm1.weight"

VINDR_DENSENET: Final = Style(
    name="vindr",
    marker=_MARKER,
    options=MappingProxyType({"final_relu": False}),
)
"""vinbigdata-medical/vindr-spinexr, spine/classification: no ReLU after norm5.

Its pixel statistics are the preset's: code and paper differ in them."""

TORCHVISION_DENSENET: Final = Style(
    name="torchvision",
    source_key=_torchvision,
    marker=_MARKER,
    options=MappingProxyType({"final_relu": True}),
    network=_IMAGENET,
)
"""torchvision.models.densenet: ReLU after norm5."""

TORCHVISION_DENSENET_OLD: Final = Style(
    name="torchvision_old",
    source_key=_torchvision_old,
    marker=_MARKER,
    options=MappingProxyType({"final_relu": True}),
    network=_IMAGENET,
)
"""The same, with the key form of torchvision's published weights (`norm.1`)."""


def _one_logit(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a two-label head into one logit: softmax(z)[1] = sigmoid(z1 - z0)."""
    adapted = dict(tensors)
    for key in ("head.heads.0.weight", "head.heads.0.bias"):
        value = tensors[key]
        if value.ndim > 0 and value.shape[0] == 2:
            exact = value.to(torch.float64)
            adapted[key] = (exact[1:] - exact[:1]).to(torch.float32)
    return adapted


def densenet(spec: DenseNetSpec) -> Architecture:
    """Describe a DenseNet classifier of these sizes."""

    def build(options: Mapping[str, Option], _classes: int) -> nn.Module:
        return DenseNet(spec, final_relu=bool(options["final_relu"]))

    return Architecture(
        role=CLASSIFIER,
        build=build,
        styles=(VINDR_DENSENET, TORCHVISION_DENSENET, TORCHVISION_DENSENET_OLD),
        calibrate=calibrate_densenet,
        options=MappingProxyType({"final_relu": False}),
        adapt=_one_logit,
    )


ENTRIES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {
        "densenet121": densenet(DENSENET121),
        "densenet169": densenet(DENSENET169),
        "densenet201": densenet(DENSENET201),
    }
)
