"""EfficientDet D0 to D7: checkpoints of effdet 0.4.1 (rwightman/efficientdet-pytorch).

effdet has two forms of D0 to D5, `tf_efficientdet_*` and `efficientdet_*`, and the
former alone of D6 and D7. D0 to D3 are told apart by their keys; D4 and D5 have the
same keys in both forms, so that a recipe has to name one: `style = "effdet"`.
Training code may order the norms of the heads by level instead of by repeat
(`head_bn_level_first`): those are the styles with `_level_first`.

The input is effdet's ResizePad: scaled by Pillow's bilinear filter to fit a square,
placed top left, the rest filled with the rounded mean colour.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from torch import Tensor, nn

from spinert.export.architecture import DETECTOR, Architecture
from spinert.export.checkpoints.style import Option, Style, same_key
from spinert.export.families.stored_anchors import EFFDET_ANCHORS, effdet_anchors
from spinert.export.networks.bifpn import BiFPNSpec
from spinert.export.networks.efficientdet import (
    AnchorShapes,
    EfficientDet,
    EfficientDetSpec,
)
from spinert.export.networks.efficientnet import EFFICIENTNETS
from spinert.export.options import BN_EPS, SELECTABLE, Limit, between
from spinert.export.untrained.efficientdet import calibrate_efficientdet

__all__ = ["ENTRIES", "PLAIN", "PLAIN_BACKBONE", "Level", "efficientdet"]

STRIDE: Final = 128
"""Of P7. Multiples of it make all neighbouring levels differ by exactly 2."""

_TF: Final[Mapping[str, Option]] = MappingProxyType(
    {
        "backbone_same_padding": True,
        "backbone_bn_eps": 1e-3,
        "neck_same_padding": True,
        "redundant_bias": True,
    }
)
PLAIN: Final[Mapping[str, Option]] = MappingProxyType(
    {
        "backbone_same_padding": False,
        "backbone_bn_eps": 1e-5,
        "neck_same_padding": False,
        "redundant_bias": False,
    }
)
"""`efficientdet_d0` to `efficientdet_d3`."""

PLAIN_BACKBONE: Final[Mapping[str, Option]] = MappingProxyType(
    {**_TF, "backbone_same_padding": False, "backbone_bn_eps": 1e-5}
)
"""`efficientdet_d4` and `efficientdet_d5`: only their backbone is PyTorch's."""

# ImageNet's mean and deviation of RGB times 255, and effdet's fill colour, which is
# the mean rounded to whole grey values and then normalised like every pixel.
_MEAN: Final = (123.675, 116.28, 103.53)
_STD: Final = (58.395, 57.12, 57.375)
_FILL: Final = tuple(
    (round(mean) - mean) / std for mean, std in zip(_MEAN, _STD, strict=True)
)

_REPEAT_FIRST: Final = re.compile(r"^(class|box)_net\.bn_rep\.(\d+)\.(\d+)\.bn\.")
_BIAS: Final = "class_net.conv_rep.0.conv_pw.bias"
_NORM: Final = "class_net.bn_rep.0.0.bn.weight"


@dataclass(frozen=True, kw_only=True)
class Level:
    """One size of the family."""

    spec: EfficientDetSpec
    """In the TensorFlow form."""
    edge: int
    """Of the square input in pixels."""
    plain: Mapping[str, Option] | None = None
    """Options of the plain form, where effdet has one."""


def _level_first(key: str) -> str:
    """Spell `bn_rep.REPEAT.LEVEL.bn.weight` as `bn_rep.LEVEL.REPEAT.weight`."""
    return _REPEAT_FIRST.sub(r"\1_net.bn_rep.\3.\2.", key)


def _is_anchor_table(key: str) -> bool:
    return key == EFFDET_ANCHORS


def _network(edge: int) -> Mapping[str, Any]:
    """Return effdet's pre- and post-processing as protobuf JSON of `Network`."""
    return MappingProxyType(
        {
            "input": {
                "canvas": {"letterbox": {"height": edge, "width": edge}},
                "resampler": "PILLOW_BILINEAR_U8_HORIZONTAL_FIRST",
                "mean": list(_MEAN),
                "std": list(_STD),
                "fill": list(_FILL),
            },
            "detection": {
                "candidates": 0,  # all that the network returns
                "score_floor": 0.0,
                "nms_iou": 0.5,
                "nms_class_wise": True,
                "max_detections": 100,
                "min_box_edge_px": 0.0,
                "clip_before_nms": True,
            },
        }
    )


def _styles(level: Level) -> tuple[Style, ...]:
    """Return the key layouts of one size."""
    forms: list[tuple[str, Mapping[str, Option]]] = [("effdet_tf", _TF)]
    told_by_bias = False
    if level.plain is not None:
        forms.append(("effdet", level.plain))
        told_by_bias = not level.plain["redundant_bias"]
    layouts: list[tuple[str, Callable[[str], str], str]] = [
        ("", same_key, _BIAS if told_by_bias else _NORM),
        ("_level_first", _level_first, _NORM),
    ]
    styles = [
        Style(
            name=f"{name}{suffix}",
            source_key=spelled,
            # Of the plain form, what it has; that it has no bias comes second.
            marker=marker if options is _TF else _NORM,
            options=options,
            network=_network(level.edge),
            ignored=_is_anchor_table,
        )
        for suffix, spelled, marker in layouts
        for name, options in forms
    ]
    if told_by_bias:
        # A file with biases has been recognised before: without them it is plain.
        styles[2:] = reversed(styles[2:])
    return tuple(styles)


_MAX_SHAPES: Final = 16


def _shapes(text: str) -> tuple[tuple[float, float], ...]:
    """Read "1x1 1.4x0.7": width and height of each anchor; () if it says no such."""
    pairs = [part.split("x") for part in text.split()]
    try:
        shapes = tuple((float(width), float(height)) for width, height in pairs)
    except ValueError:
        return ()
    are_sizes = all(0.01 <= edge <= 100 for shape in shapes for edge in shape)
    return shapes if are_sizes and len(shapes) <= _MAX_SHAPES else ()


_LIMITS: Final[Mapping[str, Limit]] = MappingProxyType(
    {
        "backbone_bn_eps": BN_EPS,
        "anchor_scale": between(0.01, 100),
        "anchor_octaves": between(1, 16),
        "anchor_shapes": Limit(
            allows=lambda value: bool(_shapes(str(value))),
            words=f"WIDTHxHEIGHT pairs, 1 to {_MAX_SHAPES}, e.g. 1x1 1.4x0.7",
        ),
        "top_k": SELECTABLE,
    }
)


def _anchors(options: Mapping[str, Option]) -> AnchorShapes:
    return AnchorShapes(
        scale=float(options["anchor_scale"]),
        octaves=int(options["anchor_octaves"]),
        shapes=_shapes(str(options["anchor_shapes"])),
    )


def _stored_anchors(
    options: Mapping[str, Option], tensors: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    return effdet_anchors(_anchors(options), tensors)


def _spec(
    base: EfficientDetSpec, options: Mapping[str, Option], classes: int
) -> EfficientDetSpec:
    backbone = replace(
        base.backbone,
        same_padding=bool(options["backbone_same_padding"]),
        eps=float(options["backbone_bn_eps"]),
    )
    pyramid = replace(
        base.pyramid,
        same_padding=bool(options["neck_same_padding"]),
        redundant_bias=bool(options["redundant_bias"]),
    )
    return replace(
        base,
        backbone=backbone,
        pyramid=pyramid,
        anchors=_anchors(options),
        classes=classes,
        top_k=int(options["top_k"]),
    )


def efficientdet(level: Level) -> Architecture:
    """Describe an EfficientDet; options replace parts of its spec."""
    base = level.spec

    def build(options: Mapping[str, Option], classes: int) -> nn.Module:
        return EfficientDet(_spec(base, options, classes))

    def available(options: Mapping[str, Option], _classes: int) -> int:
        return int(options["top_k"])

    shapes = " ".join(f"{width:g}x{height:g}" for width, height in base.anchors.shapes)
    defaults: dict[str, Option] = {
        **_TF,
        "anchor_scale": base.anchors.scale,
        "anchor_octaves": base.anchors.octaves,
        "anchor_shapes": shapes,
        "top_k": base.top_k,
    }
    return Architecture(
        role=DETECTOR,
        build=build,
        styles=_styles(level),
        calibrate=calibrate_efficientdet,
        options=MappingProxyType(defaults),
        limits=_LIMITS,
        stride=STRIDE,
        fixed_size=True,
        available=available,
        anchors=_stored_anchors,
    )


def _scaled(backbone: str, channels: int, cells: int, head: int) -> EfficientDetSpec:
    return EfficientDetSpec(
        backbone=EFFICIENTNETS[backbone],
        pyramid=BiFPNSpec(channels=channels, repeats=cells),
        head_repeats=head,
    )


# D6 and D7 sum unweighted, "for training stability", and D7 has larger anchors.
_D6: Final = EfficientDetSpec(
    backbone=EFFICIENTNETS["b6"],
    pyramid=BiFPNSpec(channels=384, repeats=8, weighted=False),
    head_repeats=5,
)
_D7: Final = replace(_D6, anchors=AnchorShapes(scale=5.0))
_LEVELS: Final = (
    Level(spec=_scaled("b0", 64, 3, 3), edge=512, plain=PLAIN),
    Level(spec=_scaled("b1", 88, 4, 3), edge=640, plain=PLAIN),
    Level(spec=_scaled("b2", 112, 5, 3), edge=768, plain=PLAIN),
    Level(spec=_scaled("b3", 160, 6, 4), edge=896, plain=PLAIN),
    Level(spec=_scaled("b4", 224, 7, 4), edge=1024, plain=PLAIN_BACKBONE),
    Level(spec=_scaled("b5", 288, 7, 4), edge=1280, plain=PLAIN_BACKBONE),
    Level(spec=_D6, edge=1280),
    Level(spec=_D7, edge=1536),
)

ENTRIES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {f"efficientdet_d{n}": efficientdet(level) for n, level in enumerate(_LEVELS)}
)
