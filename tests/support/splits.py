"""Tiny networks that say they did not converge, and the graphs that help then."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from spinert.proto import bundle_pb2 as pb
from support.bundles import tiny_spec, write_bundle

PROPOSALS = "networks/detector.proposals.onnx"
REGIONS = "networks/detector.regions.onnx"
LEVELS = ("p2", "p3", "p4", "p5")
# Two levels of three boxes: on the first the second box overlaps the best, on the
# second the last is a filler.
BOXES = np.array(
    [
        [[0, 0, 20, 20], [1, 1, 21, 21], [30, 30, 50, 50]],
        [[0, 0, 20, 20], [40, 0, 60, 20], [0, 0, 0, 0]],
    ],
    np.float32,
)
SCORES = np.array([[9.0, 8.0, 3.0], [5.0, 4.0, -1e4]], np.float32)
KEPT = np.array(
    [[0, 0, 20, 20], [0, 0, 20, 20], [40, 0, 60, 20], [30, 30, 50, 50]], np.float32
)
"""What survives, best first."""


def _value(name, dtype, *shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def _model(nodes, inputs, outputs, constants):
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    )
    return model.SerializeToString()


def proposals_graph() -> bytes:
    """Return image, image_size -> levels (the image's mean), boxes, scores."""
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        node("GlobalAveragePool", ["float"], ["p2"]),
        *(node("Identity", ["p2"], [level]) for level in LEVELS[1:]),
        node("Identity", ["all_boxes"], ["boxes"]),
        node("Identity", ["all_scores"], ["scores"]),
    ]
    inputs = [
        _value("image", TensorProto.UINT8, "N", 1, "H", "W"),
        _value("image_size", TensorProto.INT32, "N", 2),
    ]
    outputs = [
        *(_value(level, TensorProto.FLOAT, "N", 1, 1, 1) for level in LEVELS),
        _value("boxes", TensorProto.FLOAT, 1, 2, 3, 4),
        _value("scores", TensorProto.FLOAT, 1, 2, 3),
    ]
    constants = [
        numpy_helper.from_array(BOXES[None], "all_boxes"),
        numpy_helper.from_array(SCORES[None], "all_scores"),
    ]
    return _model(nodes, inputs, outputs, constants)


def regions_graph(candidates: int) -> bytes:
    """Return levels, proposals, image_size -> the proposals, scored by the mean.

    All have label 0 and the score mean / 255, so that their order is kept.
    """
    node = helper.make_node
    nodes = [
        node("Identity", ["proposals"], ["boxes"]),
        node("Reshape", ["p2", "one"], ["mean"]),
        node("Div", ["mean", "most"], ["share"]),
        node("Expand", ["share", "count"], ["scores"]),
        node("Sub", ["scores", "scores"], ["nothing"]),
        node("Cast", ["nothing"], ["labels"], to=TensorProto.INT64),
    ]
    inputs = [
        *(_value(level, TensorProto.FLOAT, "N", 1, 1, 1) for level in LEVELS),
        _value("proposals", TensorProto.FLOAT, 1, candidates, 4),
        _value("image_size", TensorProto.INT32, "N", 2),
    ]
    outputs = [
        _value("boxes", TensorProto.FLOAT, 1, candidates, 4),
        _value("scores", TensorProto.FLOAT, 1, candidates),
        _value("labels", TensorProto.INT64, 1, candidates),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 1], np.int64), "one"),
        numpy_helper.from_array(np.float32(255), "most"),
        numpy_helper.from_array(np.array([1, candidates], np.int64), "count"),
    ]
    return _model(nodes, inputs, outputs, constants)


def split_spec() -> pb.Bundle:
    """Return the tiny spec with a detector that can be recomputed."""
    spec = tiny_spec()
    detector = spec.networks["detector"]
    detector.split.CopyFrom(
        pb.Split(
            proposals=PROPOSALS,
            regions=REGIONS,
            nms_iou=0.7,
            max_proposals=detector.detection.candidates,
        )
    )
    return spec


def split_files(candidates: int = 8) -> dict[str, bytes]:
    return {PROPOSALS: proposals_graph(), REGIONS: regions_graph(candidates)}


def write_split_bundle(directory, files=None, spec=None):
    """Write the tiny bundle of the fake backend with its split graphs."""
    names = ("networks/classifier.onnx", "networks/detector.onnx")
    content = dict.fromkeys(names, b"fake") | split_files() | (files or {})
    return write_bundle(directory, spec or split_spec(), content)
