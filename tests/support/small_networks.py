"""Small networks of the real architectures, and recipes that use them."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from spinert.export.architecture import Architecture
from spinert.export.families.densenet import densenet
from spinert.export.families.sparse_rcnn import sparse_rcnn
from spinert.export.golden import golden_images
from spinert.export.networks.densenet import DenseNet, DenseNetSpec
from spinert.export.networks.grey_input import GreyInput
from spinert.export.networks.resnet_fpn import ResNetSpec
from spinert.export.networks.sparse_rcnn import SparseRCNN, SparseRCNNSpec
from spinert.export.preprocess import NetworkFrame, network_frame
from spinert.export.recipe import GoldenRecipe
from spinert.export.untrained.calibration import Calibration
from spinert.export.untrained.densenet import calibrate_densenet
from spinert.export.untrained.sparse_rcnn import calibrate_sparse_rcnn
from spinert.proto import bundle_pb2 as pb

DENSENET = DenseNetSpec(layers=(2, 2, 2, 2), growth=8, stem=16)
SPARSE_RCNN = SparseRCNNSpec(
    backbone=ResNetSpec(blocks=(1, 2, 1, 1), stem=8, pyramid=32),
    proposals=20,
    stages=3,
    heads=4,
    dynamic=8,
    feedforward=64,
)
SMALL: MappingProxyType[str, Architecture] = MappingProxyType(
    {
        "small_densenet": densenet(DENSENET),
        "small_sparse_rcnn": sparse_rcnn(SPARSE_RCNN),
    }
)
MEAN = (103.53, 116.28, 123.675)
STD = (1.0, 1.0, 1.0)
FILL = (0.0, 0.0, 0.0)

RECIPE = """
name = "small"
version = "1"
preset = "vindr"

[[classifier]]
name = "first"
architecture = "small_densenet"
checkpoint = "untrained:1"

[[classifier]]
name = "second"
architecture = "small_densenet"
checkpoint = "untrained:2"

[detector]
architecture = "small_sparse_rcnn"
checkpoint = "untrained:3"

[golden]
sizes = [[160, 128], [160, 128], [160, 128], [128, 160]]

[bundle.networks.classifier.input.canvas.fixed]
height = 64
width = 64

[bundle.networks.detector.detection]
candidates = 30

[bundle.networks.detector.input.canvas.shortest_edge]
short_edge = 120
max_long_edge = 200
"""


def write_recipe(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def detector_canvas(short_edge: int = 120) -> pb.CanvasPolicy:
    edge = pb.ShortestEdge(short_edge=short_edge, max_long_edge=1333, pad_multiple=32)
    return pb.CanvasPolicy(shortest_edge=edge)


def fixed_canvas(edge: int = 64) -> pb.CanvasPolicy:
    return pb.CanvasPolicy(fixed=pb.FixedCanvas(height=edge, width=edge))


def golden_frames(canvas: pb.CanvasPolicy, count: int = 4) -> list[NetworkFrame]:
    recipe = GoldenRecipe(sizes=((160, 128),) * count)
    rule = pb.GreyRule(invert_monochrome1=True)
    stated = pb.NetworkInput(element_type=pb.ELEMENT_UINT8, canvas=canvas)
    return [network_frame(image.grey(rule), stated) for image in golden_images(recipe)]


def batch(frames: list[NetworkFrame]) -> tuple[Tensor, Tensor]:
    """Return `image` uint8 (N,1,H,W) and `image_size` int32 (N,2)."""
    image = np.stack([frame.image for frame in frames])
    size = np.stack([frame.size for frame in frames])
    return torch.from_numpy(image), torch.from_numpy(size)


def grey_input(**changes: tuple[float, ...]) -> GreyInput:
    return GreyInput(**{"mean": MEAN, "std": STD, "fill": FILL, **changes}).eval()


def calibration(frames: list[NetworkFrame], seed: int = 5) -> Calibration:
    image, sizes = batch(frames)
    images = grey_input()(image, sizes)
    return Calibration(seed=seed, images=images, sizes=sizes, threshold=0.28)


def small_densenet(
    frames: list[NetworkFrame], spec: DenseNetSpec = DENSENET, *, final_relu: bool
) -> DenseNet:
    network = DenseNet(spec, final_relu=final_relu)
    calibrate_densenet(network, calibration(frames))
    return network.eval()


def small_sparse_rcnn(
    frames: list[NetworkFrame], spec: SparseRCNNSpec = SPARSE_RCNN
) -> SparseRCNN:
    network = SparseRCNN(spec)
    calibrate_sparse_rcnn(network, calibration(frames))
    return network.eval()
