"""Faster R-CNN R50-FPN: checkpoints of detectron2 and torchvision (v1 and v2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from torch import Tensor, nn

from spinert.export.architecture import DETECTOR, Architecture, SplitNetwork
from spinert.export.checkpoints.style import Option, Style
from spinert.export.checkpoints.torchvision_keys import torchvision_backbone_key
from spinert.export.families.detection_styles import (
    CLASS_WISE,
    DETECTRON2_INPUT,
    TORCHVISION_INPUT,
)
from spinert.export.families.stored_anchors import early_buffers, stored_cell_anchors
from spinert.export.networks.faster_rcnn import FasterRCNN, FasterRCNNSpec
from spinert.export.networks.roi_align_operator import OPERATOR
from spinert.export.options import BN_EPS, SELECTABLE, Limit, between, one_of
from spinert.export.untrained.faster_rcnn import calibrate_faster_rcnn

__all__ = [
    "DETECTRON2_FASTER_RCNN",
    "ENTRIES",
    "TORCHVISION_FASTER_RCNN",
    "TORCHVISION_FASTER_RCNN_OLD",
    "TORCHVISION_FASTER_RCNN_V2",
    "faster_rcnn",
]

_FIRST_STAGE: Final = 2
_RPN: Final = "proposal_generator.rpn_head."
_GENERATOR: Final = "proposal_generator.anchor_generator"
_HEAD: Final = "roi_heads.box_head."
_RPN_CONV: Final = re.compile(r"^proposal_generator\.rpn_head\.conv\.(?:conv(\d)\.)?")
_HEAD_CONV: Final = re.compile(r"^roi_heads\.box_head\.conv(\d)\.(norm\.)?")
_PLAIN: Final = (
    (f"{_RPN}objectness_logits.", "rpn.head.cls_logits."),
    (f"{_RPN}anchor_deltas.", "rpn.head.bbox_pred."),
    (f"{_HEAD}fc1.", f"{_HEAD}fc6."),
    (f"{_HEAD}fc2.", f"{_HEAD}fc7."),
)


def _renamed(key: str, pairs: tuple[tuple[str, str], ...], *, old: bool) -> str:
    for own, theirs in pairs:
        if key.startswith(own):
            return theirs + key.removeprefix(own)
    return torchvision_backbone_key(key, first=_FIRST_STAGE, old=old)


def _torchvision_key(key: str) -> str:
    match = _RPN_CONV.match(key)
    if match is not None:
        return f"rpn.head.conv.{match[1] or 0}.0.{key[match.end() :]}"
    return _renamed(key, _PLAIN, old=False)


def _torchvision_old_key(key: str) -> str:
    """Spell keys as torchvision before 0.13, without an index inside a block."""
    match = _RPN_CONV.match(key)
    if match is not None:
        return f"rpn.head.conv.{key[match.end() :]}"
    return _renamed(key, _PLAIN, old=True)


def _torchvision_v2_key(key: str) -> str:
    """Spell keys as `fasterrcnn_resnet50_fpn_v2`, whose box head is a sequence."""
    match = _HEAD_CONV.match(key)
    if match is not None:
        place = f"{int(match[1]) - 1}.{1 if match[2] else 0}."
        return _HEAD + place + key[match.end() :]
    if key.startswith(f"{_HEAD}fc1."):
        return key.replace("fc1", "5")  # behind four convolutions and Flatten
    return _torchvision_key(key)


_TORCHVISION_NETWORK: Final[Mapping[str, Any]] = MappingProxyType(
    {"input": dict(TORCHVISION_INPUT), "detection": dict(CLASS_WISE)}
)
_TORCHVISION_OPTIONS: Final[Mapping[str, Option]] = MappingProxyType(
    {
        "stride_in_1x1": False,
        "background": "first",
        "roi_aligned": False,
        "roi_sampling": 2,
        "anchors_rounded": True,
        "rpn_min_box_edge_px": 1e-3,
        "min_box_edge_px": 1e-2,
        "fpn_norm": False,
        "rpn_convs": 1,
        "head_convs": 0,
        "head_linears": 2,
    }
)

DETECTRON2_FASTER_RCNN: Final = Style(
    name="detectron2",
    marker=f"{_RPN}conv.weight",
    ignored=early_buffers(_GENERATOR).__contains__,
    options=MappingProxyType(
        {
            "stride_in_1x1": True,
            "background": "last",
            "roi_aligned": True,
            "roi_sampling": 0,
            "anchors_rounded": False,
            "rpn_min_box_edge_px": 0.0,
            "min_box_edge_px": 0.0,
            "fpn_norm": False,
            "rpn_convs": 1,
            "head_convs": 0,
            "head_linears": 2,
        }
    ),
    network=MappingProxyType(
        {"input": dict(DETECTRON2_INPUT), "detection": dict(CLASS_WISE)}
    ),
)
"""detectron2 COCO-Detection/faster_rcnn_R_50_FPN, zoo and fine-tuned."""

TORCHVISION_FASTER_RCNN: Final = Style(
    name="torchvision",
    source_key=_torchvision_key,
    marker="backbone.fpn_lateral2.bias",
    options=_TORCHVISION_OPTIONS,
    network=_TORCHVISION_NETWORK,
)
"""torchvision `fasterrcnn_resnet50_fpn`, with frozen or live batch normalisation.

Whatever was fine-tuned from its COCO weights needs `frozen_bn_eps = 0.0`."""

TORCHVISION_FASTER_RCNN_OLD: Final = Style(
    name="torchvision_old",
    source_key=_torchvision_old_key,
    marker="backbone.fpn_lateral2.bias",
    options=_TORCHVISION_OPTIONS,
    network=_TORCHVISION_NETWORK,
)
"""The same, saved before torchvision 0.13."""

TORCHVISION_FASTER_RCNN_V2: Final = Style(
    name="torchvision_v2",
    source_key=_torchvision_v2_key,
    marker="backbone.fpn_lateral2.norm.weight",
    options=MappingProxyType(
        {
            **_TORCHVISION_OPTIONS,
            "fpn_norm": True,
            "rpn_convs": 2,
            "head_convs": 4,
            "head_linears": 1,
        }
    ),
    network=_TORCHVISION_NETWORK,
)
"""torchvision `fasterrcnn_resnet50_fpn_v2`."""


_MIN_EDGE_PX: Final = between(0, 100)
_LIMITS: Final[Mapping[str, Limit]] = MappingProxyType(
    {
        "frozen_bn_eps": BN_EPS,
        "background": one_of("first", "last"),
        # Even a chain through all boxes of a level settles in one round for each.
        "nms_rounds": between(1, 1000),
        "proposals": SELECTABLE,
        "rpn_per_level": SELECTABLE,
        "roi_sampling": between(0, 16),
        "rpn_min_box_edge_px": _MIN_EDGE_PX,
        "min_box_edge_px": _MIN_EDGE_PX,
        "rpn_convs": between(1, 8),
        "head_convs": between(0, 8),
        "head_linears": between(1, 8),
    }
)


def _conflict(options: Mapping[str, Option], levels: int) -> str:
    """Refuse more proposals than the levels have boxes."""
    wanted, each = int(options["proposals"]), int(options["rpn_per_level"])
    if wanted <= levels * each:
        return ""
    return (
        f"options.proposals = {wanted}: {levels} levels of options.rpn_per_level = "
        f"{each} give {levels * each}; lower the one or raise the other"
    )


def _spec(
    base: FasterRCNNSpec, options: Mapping[str, Option], classes: int
) -> FasterRCNNSpec:
    """Return `base` with the settings that options and classes give."""
    anchors_rounded = bool(options["anchors_rounded"])
    return replace(
        base,
        backbone=replace(
            base.backbone,
            stride_in_1x1=bool(options["stride_in_1x1"]),
            eps=float(options["frozen_bn_eps"]),
            fpn_norm=bool(options["fpn_norm"]),
        ),
        rpn=replace(
            base.rpn,
            convs=int(options["rpn_convs"]),
            anchors=replace(base.rpn.anchors, torchvision_form=anchors_rounded),
            per_level=int(options["rpn_per_level"]),
            proposals=int(options["proposals"]),
            nms_rounds=int(options["nms_rounds"]),
            min_box_edge_px=float(options["rpn_min_box_edge_px"]),
        ),
        roi=replace(
            base.roi,
            sampling=int(options["roi_sampling"]),
            aligned=bool(options["roi_aligned"]),
        ),
        roi_operator=bool(options["roi_operator"]),
        head=replace(
            base.head,
            convs=int(options["head_convs"]),
            linears=int(options["head_linears"]),
        ),
        classes=classes,
        background_first=options["background"] == "first",
        min_box_edge_px=float(options["min_box_edge_px"]),
    )


def _split(network: nn.Module) -> SplitNetwork:
    if not isinstance(network, FasterRCNN):
        raise TypeError(f"a FasterRCNN is cut here, not {type(network).__name__}")
    return SplitNetwork(
        proposals=network.proposal_network(),
        regions=network.region_network(),
        nms_iou=network.spec.rpn.nms_iou,
        max_proposals=network.spec.rpn.proposals,
    )


def faster_rcnn(base: FasterRCNNSpec) -> Architecture:
    """Describe a Faster R-CNN detector; options replace parts of `base`."""

    def build(options: Mapping[str, Option], classes: int) -> nn.Module:
        return FasterRCNN(_spec(base, options, classes))

    def available(options: Mapping[str, Option], classes: int) -> int:
        return _spec(base, options, classes).candidates

    def anchors(
        options: Mapping[str, Option], _tensors: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        return stored_cell_anchors(_GENERATOR, _spec(base, options, 1).rpn.anchors)

    def operators(options: Mapping[str, Option]) -> tuple[str, ...]:
        return (OPERATOR,) if _spec(base, options, 1).uses_operator else ()

    return Architecture(
        role=DETECTOR,
        build=build,
        styles=(
            DETECTRON2_FASTER_RCNN,
            TORCHVISION_FASTER_RCNN,
            TORCHVISION_FASTER_RCNN_OLD,
            TORCHVISION_FASTER_RCNN_V2,
        ),
        calibrate=calibrate_faster_rcnn,
        options=MappingProxyType(
            {
                "frozen_bn_eps": base.backbone.eps,
                "nms_rounds": base.rpn.nms_rounds,
                "proposals": base.rpn.proposals,
                "roi_operator": base.roi_operator,
                "rpn_per_level": base.rpn.per_level,
            }
        ),
        approximations=frozenset({"roi_sampling"}),
        limits=_LIMITS,
        conflict=lambda options: _conflict(options, len(base.rpn.anchors.strides)),
        stride=32,
        available=available,
        operators=operators,
        anchors=anchors,
        has_status=lambda _options: True,
        split=_split,
    )


ENTRIES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {"faster_rcnn_r50_fpn": faster_rcnn(FasterRCNNSpec())}
)
