"""The exported Faster R-CNN: what ONNX Runtime and TensorRT-RTX make of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from support.small_faster_rcnns import (
    ARCHITECTURE,
    FREE,
    STYLES,
    calibrated,
    grey,
    halves,
    spec,
)
from support.small_networks import batch, detector_canvas, golden_frames
from torch import Tensor, nn

from spinert.export.errors import GraphError
from spinert.export.networks.detector import DetectorGraph
from spinert.export.onnx_from_torch import GraphSpec, check_graph, onnx_from_torch
from spinert.proto import bundle_pb2 as pb
from spinert.runtime.recompute.proposals import proposals_from_ranked

CLASSES = 3
AXES = {
    "torchvision": FREE,
    "detectron2": {0: "batch"},  # half as long to export
}
SIZES = {
    "torchvision": [(128, 160), (160, 96), (96, 96), (64, 128)] * 2,
    "detectron2": [(160, 128)] * 8,
}
# Boxes that two runs place a rounding apart can change places on a level's list.
TOLERANCES = (1e-2, 1e-4, 0.0, 0.0)

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Exported:
    """A small network of one style and its ONNX graph."""

    graph: nn.Module
    spec: GraphSpec
    model: Any


def alone(graph: nn.Module, image: Tensor, size: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [value[0] for value in graph(image[None], size[None])]


@cache
def exported(name: str) -> Exported:
    network = calibrated(name, CLASSES)
    graph = DetectorGraph(grey(), network, None).eval()
    options = {**ARCHITECTURE.options, **STYLES[name].options}
    own = spec(AXES[name], ARCHITECTURE.operators(options))
    example = batch(golden_frames(detector_canvas())[:2])
    return Exported(graph, own, onnx_from_torch(graph, example, own))


def session_of(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def images(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return smooth images that differ, each with a valid size of its own."""
    draw = torch.Generator().manual_seed(height + count)
    coarse = torch.rand(count, 1, height // 16, width // 16, generator=draw)
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    cut = torch.randint(0, 31, (count, 2), generator=draw)
    sizes = torch.tensor([[height, width]]) - cut
    return (255 * smooth.clamp(0, 1)).to(torch.uint8), sizes.to(torch.int32)


@pytest.mark.parametrize("name", ["torchvision", "detectron2"])
def test_onnx_runtime_agrees_at_every_batch_size_and_slot(name) -> None:
    own = exported(name)
    session = session_of(own.model.SerializeToString())
    for count, (height, width) in enumerate(SIZES[name], start=1):
        image, size = images(count, height, width)
        feed = {"image": image.numpy(), "image_size": size.numpy()}
        found = session.run(None, feed)
        for slot in range(count):
            expected = alone(own.graph, image[slot], size[slot])
            assert float(expected[1].max()) > 0.01
            for value, other, atol in zip(expected, found, TOLERANCES, strict=True):
                np.testing.assert_allclose(other[slot], value, rtol=0, atol=atol)


def test_the_plugin_free_graph_has_neither_loop_nor_suppression_nor_plugin() -> None:
    operators = {node.op_type for node in exported("torchvision").model.graph.node}
    custom = {"RoiAlign", "NonMaxSuppression", "NonZero", "Loop", "If", "Scan"}
    assert not operators & custom


def test_adaptive_sampling_needs_the_operator_to_be_declared() -> None:
    own = exported("detectron2")
    nodes = [node.op_type for node in own.model.graph.node]
    assert nodes.count("RoiAlign") == 4
    undeclared = GraphSpec(
        inputs=own.spec.inputs, outputs=own.spec.outputs, dynamic=own.spec.dynamic
    )
    with pytest.raises(GraphError, match="RoiAlign"):
        check_graph(own.model, undeclared)


def test_the_split_graphs_answer_as_the_whole_graph() -> None:
    split = ARCHITECTURE.split(calibrated("torchvision", CLASSES))
    whole = DetectorGraph(grey(), calibrated("torchvision", CLASSES), None).eval()
    first, second = (session_of(half) for half in halves(CLASSES))
    rule = pb.Split(nms_iou=split.nms_iou, max_proposals=split.max_proposals)
    image, size = images(2, 160, 128)
    found = first.run(None, {"image": image.numpy(), "image_size": size.numpy()})
    names = [value.name for value in first.get_outputs()]
    levels = dict(zip(names, found, strict=True))
    boxes, scores = levels.pop("boxes"), levels.pop("scores")
    host = [
        proposals_from_ranked(*of_frame, rule)
        for of_frame in zip(boxes, scores, strict=True)
    ]
    feed = {**levels, "proposals": np.stack(host), "image_size": size.numpy()}
    answer = second.run(None, feed)
    for slot in range(2):
        *expected, status = alone(whole, image[slot], size[slot])
        assert not status
        for value, other, atol in zip(expected, answer, TOLERANCES, strict=False):
            np.testing.assert_allclose(other[slot], value, rtol=0, atol=atol)


def test_tensorrt_rtx_builds_the_plugin_free_graph() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    content = exported("torchvision").model.SerializeToString()
    parsed = parser.parse(content)
    assert parsed, [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("image", (1, 1, 64, 64), (2, 1, 128, 160), (4, 1, 192, 192))
    profile.set_shape("image_size", (1, 2), (2, 2), (4, 2))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
