"""A very small Faster R-CNN and the ONNX graphs of its halves, made once."""

from __future__ import annotations

from functools import cache

from torch import nn

from spinert.export.families.faster_rcnn import faster_rcnn
from spinert.export.networks.faster_rcnn import BoxHeadSpec, FasterRCNNSpec
from spinert.export.networks.grey_input import GreyInput
from spinert.export.networks.resnet_fpn import ResNetSpec
from spinert.export.onnx_from_torch import GraphSpec, onnx_from_torch
from spinert.export.split_graphs import split_graphs
from support.small_networks import batch, calibration, detector_canvas, golden_frames

__all__ = [
    "ARCHITECTURE",
    "COUNTS",
    "FREE",
    "STYLES",
    "calibrated",
    "grey",
    "halves",
    "spec",
    "with_rounds",
]

ARCHITECTURE = faster_rcnn(
    FasterRCNNSpec(
        backbone=ResNetSpec(blocks=(1, 1, 1, 1), stem=8, pyramid=16),
        head=BoxHeadSpec(width=32),
    )
)
STYLES = {style.name: style for style in ARCHITECTURE.styles}
COUNTS = {"rpn_per_level": 60, "proposals": 50}
ROUNDS = 8
FREE = {0: "batch", 2: "height", 3: "width"}


def grey() -> GreyInput:
    third = (110.0, 110.0, 110.0)
    return GreyInput(mean=third, std=(50.0,) * 3, fill=(0.0,) * 3)


def _built(style: str, classes: int, rounds: int) -> nn.Module:
    options = {**ARCHITECTURE.options, **STYLES[style].options, **COUNTS}
    return ARCHITECTURE.build({**options, "nms_rounds": rounds}, classes)


@cache
def calibrated(style: str, classes: int) -> nn.Module:
    network = _built(style, classes, ROUNDS)
    ARCHITECTURE.calibrate(network, calibration(golden_frames(detector_canvas())))
    return network.eval()


def with_rounds(classes: int, rounds: int) -> nn.Module:
    """Return the network of torchvision's style with so many rounds of suppression."""
    network = _built("torchvision", classes, rounds)
    network.load_state_dict(calibrated("torchvision", classes).state_dict())
    return network.eval()


def spec(axes: dict[int, str], operators: tuple[str, ...] = ()) -> GraphSpec:
    return GraphSpec(
        inputs=("image", "image_size"),
        outputs=("boxes", "scores", "labels", "status"),
        dynamic=(axes, {0: "batch"}),
        operators=operators,
    )


@cache
def halves(classes: int) -> tuple[bytes, bytes]:
    """Return what lies before and behind the suppression, serialised.

    How many rounds the suppression has does not matter to them.
    """
    split = ARCHITECTURE.split(calibrated("torchvision", classes))
    example = batch(golden_frames(detector_canvas())[:2])
    first, second = (
        onnx_from_torch(half.module, half.example, half.spec).SerializeToString()
        for half in split_graphs(split, grey(), example, spec(FREE))
    )
    return first, second
