"""Calibrated EfficientDets on small canvases, and their answers as arrays."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from google.protobuf import json_format
from torch import Tensor

from spinert.export.checkpoints.style import Style
from spinert.export.families.efficientdet import ENTRIES, PLAIN, Level, efficientdet
from spinert.export.golden import golden_images
from spinert.export.networks.bifpn import BiFPNSpec
from spinert.export.networks.detector import DetectorGraph
from spinert.export.networks.efficientdet import EfficientDet, EfficientDetSpec
from spinert.export.networks.efficientnet import EfficientNetSpec
from spinert.export.networks.grey_input import GreyInput
from spinert.export.preprocess import NetworkFrame, network_frame
from spinert.export.recipe import GoldenRecipe
from spinert.export.untrained.calibration import Calibration
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import FP32, TOLERANCES, AgreementRule, agreement
from spinert.runtime.decide.candidates import (
    Candidates,
    Geometry,
    findings_from_candidates,
)
from spinert.runtime.preprocess.canvas import placement
from support.small_networks import batch

__all__ = [
    "ARCHITECTURES",
    "EDGE",
    "SMALL_LEVEL",
    "calibrated",
    "candidates",
    "detections",
    "gaps_between",
    "geometry_of",
    "golden",
    "graph_of",
    "letterboxed",
    "style",
]

EDGE = 256
SMALL_LEVEL = Level(
    spec=EfficientDetSpec(
        backbone=EfficientNetSpec(width=0.25, depth=0.3),
        pyramid=BiFPNSpec(channels=24, repeats=1),
        head_repeats=1,
        top_k=300,
    ),
    edge=EDGE,
    plain=PLAIN,
)
ARCHITECTURES = {**ENTRIES, "small": efficientdet(SMALL_LEVEL)}
Answer = dict[str, Any]


def letterboxed(edge: int = EDGE) -> pb.NetworkInput:
    box = pb.Letterbox(height=edge, width=edge)
    canvas = pb.CanvasPolicy(letterbox=box)
    return pb.NetworkInput(element_type=pb.ELEMENT_UINT8, canvas=canvas)


def golden(edge: int = EDGE) -> list[NetworkFrame]:
    """Return two tall, one wide and one square frame."""
    sizes = ((300, 200), (300, 200), (190, 310), (250, 250))
    rule = pb.GreyRule(invert_monochrome1=True)
    images = golden_images(GoldenRecipe(sizes=sizes))
    return [network_frame(image.grey(rule), letterboxed(edge)) for image in images]


def graph_of(network: Any, style: Style, **changes: Any) -> DetectorGraph:
    stated = {**style.network["input"], **changes}
    grey = GreyInput(**{name: stated[name] for name in ("mean", "std", "fill")})
    return DetectorGraph(grey, network or torch.nn.Identity(), None).eval()


def style(name: str, architecture: str = "efficientdet_d0") -> Style:
    styles = {style.name: style for style in ARCHITECTURES[architecture].styles}
    return styles[name]


@cache
def calibrated(
    style_name: str = "effdet_tf", name: str = "efficientdet_d0"
) -> tuple[EfficientDet, list[NetworkFrame]]:
    """Return an untrained network of a style and the frames it is calibrated on."""
    architecture, own = ARCHITECTURES[name], style(style_name, name)
    network = architecture.build({**architecture.options, **own.options}, 7)
    frames = golden()
    image, sizes = batch(frames)
    images = graph_of(network, own).grey(image, sizes)
    architecture.calibrate(
        network, Calibration(seed=3, images=images, sizes=sizes, threshold=0.28)
    )
    return network.eval(), frames


def candidates(graph: DetectorGraph, image: Tensor, size: Tensor) -> list[Answer]:
    with torch.no_grad():
        rows = zip(*graph(image, size), size, strict=True)
        return [
            {
                "boxes": boxes.numpy(),
                "scores": scores.numpy(),
                "labels": labels.numpy(),
                "size": own.tolist(),
            }
            for boxes, scores, labels, own in rows
        ]


def geometry_of(rows: int, columns: int) -> Geometry:
    """Return how the runtime scales the boxes of an image back."""
    place = placement(rows, columns, letterboxed().canvas)
    return Geometry(
        rows=rows,
        columns=columns,
        rows_per_pixel=place.rows_per_pixel,
        columns_per_pixel=place.columns_per_pixel,
    )


def detections(answer: Answer, geometry: Geometry | None = None) -> Answer:
    """Apply the post-processing of the bundle; without `geometry` in network pixels."""
    height, width = answer["size"]
    geometry = geometry or Geometry(
        rows=height, columns=width, rows_per_pixel=1.0, columns_per_pixel=1.0
    )
    own = Candidates(
        boxes=answer["boxes"], scores=answer["scores"], labels=answer["labels"]
    )
    stated = dict(style("effdet_tf").network["detection"])
    rule = json_format.ParseDict(stated, pb.DetectionRule())
    found = findings_from_candidates(own, rule, geometry)
    boxes = [(f.box.x_min, f.box.y_min, f.box.x_max, f.box.y_max) for f in found]
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "scores": np.array([f.score for f in found], np.float32),
        "labels": np.array([f.class_index for f in found], np.int64),
    }


def gaps_between(expected: Answer, actual: Answer) -> dict[str, float]:
    """Return the largest differences of boxes and scores, and the lost candidates."""
    rule = AgreementRule(tolerances=TOLERANCES[FP32], exact=True)
    differences = agreement(expected, actual, rule).differences
    return {name: gap.max_abs for name, gap in differences.items()}
