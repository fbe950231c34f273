"""RetinaNet R50-FPN: checkpoints of detectron2 and torchvision (v1 and v2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from torch import Tensor, nn

from spinert.export.architecture import DETECTOR, Architecture
from spinert.export.checkpoints.style import Option, Style
from spinert.export.checkpoints.torchvision_keys import torchvision_backbone_key
from spinert.export.families.detection_styles import (
    CLASS_WISE,
    DETECTRON2_INPUT,
    TORCHVISION_INPUT,
)
from spinert.export.families.stored_anchors import early_buffers, stored_cell_anchors
from spinert.export.networks.anchors import AnchorSpec
from spinert.export.networks.retinanet import (
    DETECTRON2_ANCHORS,
    TORCHVISION_ANCHORS,
    RetinaNet,
    RetinaNetSpec,
)
from spinert.export.options import BN_EPS, SELECTABLE, group_count, one_of
from spinert.export.untrained.retinanet import calibrate_retinanet

__all__ = [
    "DETECTRON2_RETINANET",
    "ENTRIES",
    "TORCHVISION_RETINANET",
    "TORCHVISION_RETINANET_OLD",
    "TORCHVISION_RETINANET_V2",
    "retinanet",
]

_FIRST_STAGE: Final = 3
_GENERATOR: Final = "anchor_generator"
_TOWER: Final = re.compile(r"^head\.(cls|bbox)_subnet\.(\d)\.(norm\.)?")
_HEADS: Final = {"cls": "classification_head", "bbox": "regression_head"}
_PLAIN: Final = (
    ("backbone.top_block.", "backbone.fpn.extra_blocks."),
    ("head.cls_score.", "head.classification_head.cls_logits."),
    ("head.bbox_pred.", "head.regression_head.bbox_reg."),
)


def _torchvision_key(key: str, *, old: bool = False) -> str:
    match = _TOWER.match(key)
    if match is not None:
        kind, place, norm = match.groups()
        # Own layers alternate with activations; so did torchvision's before 0.13.
        layer = f"{place}." if old else f"{int(place) // 2}.{1 if norm else 0}."
        return f"head.{_HEADS[kind]}.conv.{layer}{key[match.end() :]}"
    for own, theirs in _PLAIN:
        if key.startswith(own):
            return theirs + key.removeprefix(own)
    return torchvision_backbone_key(key, first=_FIRST_STAGE, old=old)


def _torchvision_old_key(key: str) -> str:
    return _torchvision_key(key, old=True)


_TOWER_BIAS: Final = "head.cls_subnet.0.bias"
_TOWER_NORM: Final = "head.cls_subnet.0.norm.weight"

_DETECTRON2_NETWORK: Final[Mapping[str, Any]] = MappingProxyType(
    {"input": dict(DETECTRON2_INPUT), "detection": dict(CLASS_WISE)}
)
_TORCHVISION_NETWORK: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "input": dict(TORCHVISION_INPUT),
        "detection": {**CLASS_WISE, "max_detections": 300},
    }
)

_TORCHVISION_OPTIONS: Final[Mapping[str, Option]] = MappingProxyType(
    {
        "stride_in_1x1": False,
        "p6_from_p5": True,
        "head_groups": 0,
        "anchors_rounded": True,
        "clip_boxes": True,
    }
)

DETECTRON2_RETINANET: Final = Style(
    name="detectron2",
    marker=_TOWER_BIAS,
    ignored=early_buffers(_GENERATOR).__contains__,
    options=MappingProxyType(
        {
            "stride_in_1x1": True,
            "p6_from_p5": False,
            "head_groups": 0,
            "anchors_rounded": False,
            "clip_boxes": False,
        }
    ),
    network=_DETECTRON2_NETWORK,
)
"""detectron2 COCO-Detection/retinanet_R_50_FPN, zoo and fine-tuned."""

TORCHVISION_RETINANET: Final = Style(
    name="torchvision",
    source_key=_torchvision_key,
    marker=_TOWER_BIAS,
    options=_TORCHVISION_OPTIONS,
    network=_TORCHVISION_NETWORK,
)
"""torchvision.models.detection.retinanet_resnet50_fpn.

The published COCO_V1 weights, and what was fine-tuned from them, want
`frozen_bn_eps = 0.0`: torchvision overwrites it after loading.
"""

TORCHVISION_RETINANET_OLD: Final = Style(
    name="torchvision_old",
    source_key=_torchvision_old_key,
    marker=_TOWER_BIAS,
    options=_TORCHVISION_OPTIONS,
    network=_TORCHVISION_NETWORK,
)
"""The same, with the keys of files from before torchvision 0.13 (`conv.0.weight`)."""

TORCHVISION_RETINANET_V2: Final = Style(
    name="torchvision_v2",
    source_key=_torchvision_key,
    marker=_TOWER_NORM,
    options=MappingProxyType(
        {**_TORCHVISION_OPTIONS, "p6_from_p5": False, "head_groups": 32}
    ),
    network=_TORCHVISION_NETWORK,
)
"""torchvision.models.detection.retinanet_resnet50_fpn_v2."""


def _anchors(options: Mapping[str, Option]) -> AnchorSpec:
    return TORCHVISION_ANCHORS if options["anchors_rounded"] else DETECTRON2_ANCHORS


def _stored_anchors(
    options: Mapping[str, Option], _tensors: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    return stored_cell_anchors(_GENERATOR, _anchors(options))


def retinanet(base: RetinaNetSpec) -> Architecture:
    """Describe a RetinaNet detector; options replace parts of `base`."""

    def build(options: Mapping[str, Option], classes: int) -> nn.Module:
        spec = replace(
            base,
            backbone=replace(
                base.backbone,
                stride_in_1x1=bool(options["stride_in_1x1"]),
                eps=float(options["frozen_bn_eps"]),
            ),
            classes=classes,
            background_first=options["background"] == "first",
            p6_from_p5=bool(options["p6_from_p5"]),
            head_groups=int(options["head_groups"]),
            anchors=_anchors(options),
            top_k=int(options["top_k"]),
            clip_boxes=bool(options["clip_boxes"]),
        )
        return RetinaNet(spec)

    def available(options: Mapping[str, Option], _classes: int) -> int:
        return replace(base, top_k=int(options["top_k"])).candidates

    return Architecture(
        role=DETECTOR,
        build=build,
        styles=(
            DETECTRON2_RETINANET,
            TORCHVISION_RETINANET,
            TORCHVISION_RETINANET_OLD,
            TORCHVISION_RETINANET_V2,
        ),
        calibrate=calibrate_retinanet,
        options=MappingProxyType(
            {
                "frozen_bn_eps": base.backbone.eps,
                "background": "none",
                "top_k": base.top_k,
            }
        ),
        limits=MappingProxyType(
            {
                "frozen_bn_eps": BN_EPS,
                "background": one_of("first", "none"),
                "head_groups": group_count(base.backbone.pyramid),
                "top_k": SELECTABLE,
            }
        ),
        stride=32,
        available=available,
        anchors=_stored_anchors,
    )


ENTRIES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {"retinanet_r50_fpn": retinanet(RetinaNetSpec())}
)
