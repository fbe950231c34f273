"""Tiny ONNX networks that follow the graph contract of bundle.proto."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.bundle import LoadedBundle, load_bundle
from support.bundles import tiny_spec, write_bundle

_MEAN = 103.53


def _weights(name: str, *shape: int, scale: float) -> TensorProto:
    random = np.random.default_rng(sum(map(ord, name)))
    values = random.normal(0, scale, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def _constant(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def _features() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Return image -> two convolutions -> `pooled` (N,16)."""
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        node("Sub", ["float", "mean"], ["centred"]),
        node("Conv", ["centred", "w1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["c2"], ["r2"]),
        node("GlobalAveragePool", ["r2"], ["pool"]),
        node("Flatten", ["pool"], ["pooled"]),
    ]
    weights = [
        numpy_helper.from_array(np.float32(_MEAN), "mean"),
        _weights("w1", 8, 1, 3, 3, scale=0.02),
        _weights("w2", 16, 8, 3, 3, scale=0.2),
    ]
    return nodes, weights


def _model(
    nodes: list[onnx.NodeProto],
    weights: list[TensorProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    )
    onnx.checker.check_model(model)
    return model


def image_input(
    *size: int | str, dtype: int = TensorProto.UINT8
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("image", dtype, ["N", 1, *size])


def classifier(members: int = 2) -> onnx.ModelProto:
    """Return image (N,1,32,32) -> logits (N,members)."""
    nodes, weights = _features()
    nodes.append(helper.make_node("MatMul", ["pooled", "head"], ["logits"]))
    weights.append(_weights("head", 16, members, scale=0.4))
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", members])
    return _model(nodes, weights, [image_input(32, 32)], [logits])


def detector(candidates: int = 8) -> onnx.ModelProto:
    """Return image (N,1,H,W), image_size -> boxes, scores, labels of K candidates."""
    nodes, weights = _features()
    count = candidates
    node = helper.make_node
    nodes += [
        node("Cast", ["image_size"], ["size"], to=TensorProto.FLOAT),
        node("Gather", ["size", "xy"], ["edges"], axis=1),
        node("Reshape", ["edges", "column"], ["edges3"]),
        node("MatMul", ["pooled", "box_head"], ["box_raw"]),
        node("Sigmoid", ["box_raw"], ["box_unit"]),
        node("Reshape", ["box_unit", "box_shape"], ["unit"]),
        node("Slice", ["unit", "start", "middle", "axis"], ["corner"]),
        node("Slice", ["unit", "middle", "end", "axis"], ["extent"]),
        node("Add", ["corner", "extent"], ["far"]),
        node("Concat", ["corner", "far"], ["unit_boxes"], axis=2),
        node("Mul", ["unit_boxes", "edges3"], ["boxes"]),
        node("MatMul", ["pooled", "score_head"], ["score_raw"]),
        node("Sigmoid", ["score_raw"], ["scores"]),
        node("Greater", ["score_raw", "zero"], ["positive"]),
        node("Cast", ["positive"], ["labels"], to=TensorProto.INT64),
    ]
    weights += [
        _constant("xy", 1, 0, 1, 0),
        _constant("column", -1, 1, 4),
        _constant("box_shape", -1, count, 4),
        _constant("start", 0),
        _constant("middle", 2),
        _constant("end", 4),
        _constant("axis", 2),
        _weights("box_head", 16, 4 * count, scale=0.3),
        _weights("score_head", 16, count, scale=0.3),
        numpy_helper.from_array(np.float32(0), "zero"),
    ]
    inputs = [
        image_input("H", "W"),
        helper.make_tensor_value_info("image_size", TensorProto.INT32, ["N", 2]),
    ]
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", count, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", count]),
        helper.make_tensor_value_info("labels", TensorProto.INT64, ["N", count]),
    ]
    return _model(nodes, weights, inputs, outputs)


def onnx_bundle(directory: Path, spec: pb.Bundle | None = None) -> LoadedBundle:
    """Write the tiny bundle with networks that ONNX Runtime can run."""
    files = {
        "networks/classifier.onnx": classifier().SerializeToString(),
        "networks/detector.onnx": detector().SerializeToString(),
    }
    return load_bundle(write_bundle(directory, spec or tiny_spec(), files))
