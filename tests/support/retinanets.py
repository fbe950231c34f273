"""RetinaNets of every style with calibrated weights, and torchvision's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from google.protobuf import json_format
from torch import Tensor, nn

from spinert.export.architecture import Architecture
from spinert.export.checkpoints.mapping import own_keys
from spinert.export.checkpoints.style import Option, Style
from spinert.export.families.retinanet import retinanet
from spinert.export.golden import golden_images
from spinert.export.networks.detector import DetectorGraph
from spinert.export.networks.grey_input import input_stage
from spinert.export.networks.resnet_fpn import ResNetSpec
from spinert.export.networks.retinanet import RetinaNetSpec
from spinert.export.recipe import GoldenRecipe
from spinert.export.untrained.calibration import Calibration
from spinert.proto import bundle_pb2 as pb
from spinert.runtime.decide.candidates import (
    Candidates,
    Geometry,
    findings_from_candidates,
)
from spinert.runtime.preprocess.canvas import placement
from support.preprocess_twin import served_input
from support.retinanet_oracle import Detection, detections_of_detectron2
from support.torchvision_models import torchvision_module

Grey = npt.NDArray[np.uint8]

CLASSES = 7
SHORT_EDGE, LONG_EDGE = 160, 256
BLOCKS = (1, 1, 1, 1)
SIZES = ((301, 190), (200, 310), (181, 179), (400, 150))
BOX_PX, SCORE = 1e-2, 1e-4
ARCHITECTURE = retinanet(
    RetinaNetSpec(backbone=ResNetSpec(blocks=BLOCKS, levels=(3, 4, 5)))
)


STYLES = {style.name: style for style in ARCHITECTURE.styles}


@cache
def greys() -> tuple[Grey, ...]:
    rule = pb.GreyRule(invert_monochrome1=True)
    images = golden_images(GoldenRecipe(sizes=SIZES, seed=9))
    return tuple(image.grey(rule) for image in images)


@dataclass(frozen=True)
class Case:
    """A network with calibrated weights and the bundle that its style asks for."""

    architecture: Architecture
    network: nn.Module
    bundle: pb.Network
    style: Style
    options: Mapping[str, Option]

    def file(self) -> dict[str, Tensor]:
        """Return the weights as a file of this style spells them."""
        state = self.network.state_dict()
        return {self.style.source_key(k): state[k] for k in own_keys(self.network)}

    def with_options(self, **changes: Option) -> Self:
        """Return the same weights under other settings."""
        options = {**self.options, **changes}
        network = self.architecture.build(options, CLASSES)
        network.load_state_dict(self.network.state_dict())
        return replace(self, network=network.eval(), options=options)

    def inputs(self, grey: Grey) -> tuple[Tensor, Tensor]:
        """Return `image` and `image_size` of one frame, as the runtime makes them."""
        place = placement(*grey.shape, self.bundle.input.canvas)
        image = served_input(grey, place, self.bundle.input)
        size = torch.tensor([[place.valid_height, place.valid_width]])
        return torch.from_numpy(image)[None], size.to(torch.int32)

    def graph(self) -> nn.Module:
        """Return what is exported."""
        return DetectorGraph(input_stage(self.bundle.input), self.network, None).eval()

    @torch.no_grad()
    def findings(self, grey: Grey) -> list[Detection]:
        """Go the whole way of a served frame."""
        image, size = self.inputs(grey)
        return self.decided(grey, [v[0].numpy() for v in self.graph()(image, size)])

    def decided(self, grey: Grey, answer: Sequence[np.ndarray]) -> list[Detection]:
        """Apply the host's rules to boxes, scores and labels of one frame."""
        place = placement(*grey.shape, self.bundle.input.canvas)
        geometry = Geometry(
            rows=grey.shape[0],
            columns=grey.shape[1],
            rows_per_pixel=place.rows_per_pixel,
            columns_per_pixel=place.columns_per_pixel,
        )
        boxes, scores, labels = answer
        candidates = Candidates(boxes=boxes, scores=scores, labels=labels)
        found = findings_from_candidates(candidates, self.bundle.detection, geometry)
        return [
            Detection(
                box=(f.box.x_min, f.box.y_min, f.box.x_max, f.box.y_max),
                score=f.score,
                label=f.class_index,
            )
            for f in found
        ]


C = TypeVar("C", bound=Case)


def calibrated(
    kind: type[C], architecture: Architecture, style: Style, **changes: Option
) -> C:
    """Return a style with weights calibrated under its own settings."""
    bundle = pb.Network()
    json_format.ParseDict(dict(style.network), bundle)
    edge = bundle.input.canvas.shortest_edge
    assert (edge.short_edge, edge.max_long_edge, edge.pad_multiple) == (800, 1333, 32)
    edge.short_edge, edge.max_long_edge = SHORT_EDGE, LONG_EDGE
    options = {**architecture.options, **style.options, **changes}
    network = architecture.build(options, CLASSES)
    made = kind(architecture, network, bundle, style, options)
    architecture.calibrate(network, calibration(made))
    network.eval()
    return made


def calibration(made: Case) -> Calibration:
    grey = greys()[0]
    frames = [made.inputs(grey), made.inputs(grey[::-1].copy())]
    image, size = (torch.cat(parts) for parts in zip(*frames, strict=True))
    images = input_stage(made.bundle.input)(image, size)
    return Calibration(seed=3, images=images, sizes=size, threshold=0.28)


@cache
def case(name: str) -> Case:
    """Return a RetinaNet of a style."""
    return calibrated(Case, ARCHITECTURE, STYLES[name])


def gaps(
    expected: Sequence[Detection], found: Sequence[Detection]
) -> tuple[float, float]:
    """Pair every detection with its nearest of equal label and about equal score.

    Returns:
        The largest differences of boxes in original pixels and of scores; infinite
        where a detection has no partner.
    """
    lost = math.inf, math.inf
    if len(expected) != len(found):
        return lost
    free = list(found)
    box_px = score = 0.0
    for one in expected:
        near = [
            (max(abs(a - b) for a, b in zip(other.box, one.box, strict=True)), place)
            for place, other in enumerate(free)
            if other.label == one.label and abs(other.score - one.score) <= 10 * SCORE
        ]
        if not near:
            return lost
        distance, place = min(near)
        score = max(score, abs(free.pop(place).score - one.score))
        box_px = max(box_px, distance)
    return box_px, score


def oracles(own: Case, grey: Grey, *, stride_in_1x1: bool = True) -> list[Detection]:
    """Return what the oracle of detectron2 finds with the weights of `own`."""
    image, size = own.inputs(grey)
    return detections_of_detectron2(
        own.file(),
        input_stage(own.bundle.input)(image, size),
        valid=tuple(size[0].tolist()),
        original=grey.shape,
        classes=CLASSES,
        stride_in_1x1=stride_in_1x1,
    )


def check(expected: Sequence[Detection], own: Case, grey: Grey, many: int) -> None:
    """Hold that `own` finds what is expected, of which there are more than `many`."""
    assert len(expected) > many
    box_px, score = gaps(expected, own.findings(grey))
    assert box_px <= BOX_PX
    assert score <= SCORE


def theirs(model: nn.Module, grey: Grey) -> list[Detection]:
    """Ask a torchvision model; boxes of no area say nothing and are left out."""
    image = torch.from_numpy(grey).to(torch.float32)[None].repeat(3, 1, 1) / 255
    with torch.no_grad():
        answer = model([image])[0]
    return [
        Detection(box=tuple(box), score=score, label=label)
        for box, score, label in zip(
            answer["boxes"].tolist(),
            answer["scores"].tolist(),
            answer["labels"].tolist(),
            strict=True,
        )
        if box[2] > box[0] and box[3] > box[1]
    ]


def torchvision_retinanet(name: str, classes: int = CLASSES, **sizes: Any) -> nn.Module:
    """Return torchvision's model with a backbone of four blocks."""
    resnet = torchvision_module("models.resnet")
    fpn = torchvision_module("models.detection.backbone_utils")
    pyramid = torchvision_module("ops.feature_pyramid_network")
    models = torchvision_module("models.detection.retinanet")
    is_v2 = name == "torchvision_v2"
    backbone = fpn._resnet_fpn_extractor(
        resnet.ResNet(resnet.Bottleneck, list(BLOCKS)),
        5,
        returned_layers=[2, 3, 4],
        extra_blocks=pyramid.LastLevelP6P7(2048 if is_v2 else 256, 256),
    )
    if is_v2:
        sizes["head"] = models.RetinaNetHead(
            256, 9, classes, norm_layer=lambda width: nn.GroupNorm(32, width)
        )
    limits = {"min_size": SHORT_EDGE, "max_size": LONG_EDGE}
    model: nn.Module = models.RetinaNet(backbone, classes, **limits, **sizes)
    return model.eval()


def load(model: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return model
