"""A bundle whose networks are small, so that everything around them shows."""

from __future__ import annotations

import hashlib
import io
import statistics
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf import json_format
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Picture

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.engine.prepare import prepared_from_image
from spinert.runtime.image import Image, Photometric

CANDIDATES = 16


def write_tiny_bundle(
    directory: Path, edge: int, channels: int, classifier: bytes = b""
) -> Path:
    """Write classifier and detector of `channels` 3 x 3 filters on `edge` squares.

    `classifier` takes its place: an ONNX file for squares of `edge`, from grey in
    uint8, or from any number of channels in float32 that are not normalised.
    """
    files = {
        "networks/classifier.onnx": classifier or _classifier(channels),
        "networks/detector.onnx": _detector(channels),
    }
    spec = _spec(edge)
    if classifier:
        _take_as(spec.networks["classifier"].input, classifier)
    files |= _golden_files(spec, files)
    for name, content in sorted(files.items()):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        spec.files.add(path=name, bytes=len(content), sha256=digest)
    text = json_format.MessageToJson(spec, preserving_proto_field_name=True)
    (directory / "bundle.json").write_text(text)
    return directory


def network_alone_ms(directory: Path, edge: int) -> float:
    """Median time of the classifier on one thread, with the machine to itself."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = directory / "networks" / "classifier.onnx"
    session = onnxruntime.InferenceSession(path, options)
    image = np.zeros((1, 1, edge, edge), np.uint8)
    spent = []
    for _ in range(100):
        start = time.perf_counter()
        session.run(None, {"image": image})
        spent.append(time.perf_counter() - start)
    return round(1000 * statistics.median(spent), 2)


def _spec(edge: int) -> pb.Bundle:
    spec = pb.Bundle(format=1, name="tiny", version="1", notice="for benchmarks only")
    spec.grey.voi = pb.VOI_LUT_THEN_WINDOW
    spec.grey.constant_image = pb.CONSTANT_IMAGE_REFUSE
    for role, output in (
        ("classifier", pb.OUTPUT_LOGITS),
        ("detector", pb.OUTPUT_CANDIDATES),
    ):
        network = spec.networks[role]
        network.file = f"networks/{role}.onnx"
        network.architecture, network.output, network.precision = "conv", output, "fp32"
        network.input.element_type = pb.ELEMENT_UINT8
        network.input.resampler = pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST
        network.input.resampler_version = "pillow<=12"
        network.input.canvas.fixed.height = network.input.canvas.fixed.width = edge
        for field in (network.input.mean, network.input.fill):
            field.append(0)
        network.input.std.append(1)
    spec.networks["classifier"].members.append("conv")
    spec.networks["detector"].input.takes_image_size = True
    rule = spec.networks["detector"].detection
    rule.candidates, rule.max_detections = CANDIDATES, 100
    spec.combination.rule = pb.COMBINATION_LOGIT_MEAN
    spec.combination.probability_clip = 1e-6
    spec.decision.threshold = 0.5
    spec.decision.comparison = pb.GREATER_OR_EQUAL
    spec.classes.add(name="Other lesions")
    spec.fusion.rule = pb.FUSION_NONE
    return spec


def _take_as(stated: pb.NetworkInput, network: bytes) -> None:
    """State the input of an ONNX file where it takes float32."""
    (image,) = onnx.load_from_string(network).graph.input
    if image.type.tensor_type.elem_type == TensorProto.FLOAT:
        stated.element_type = pb.ELEMENT_FLOAT32
        channels = image.type.tensor_type.shape.dim[1].dim_value
        stated.mean[:] = stated.fill[:] = [0.0] * channels
        stated.std[:] = [1.0] * channels


def _golden_files(spec: pb.Bundle, graphs: dict[str, bytes]) -> dict[str, bytes]:
    """Fill in `spec.golden`: one ramp, answered by ONNX Runtime itself."""
    ramp = np.linspace(0, 4095, 96 * 80).reshape(96, 80).astype(np.uint16)
    image = Image(pixels=ramp, bits_stored=12, photometric=Photometric.MONOCHROME2)
    inputs = prepared_from_image(image, spec, sorted(spec.networks)).inputs
    frame = spec.golden.frames.add(name="ramp", image="golden/ramp.png")
    frame.photometric_interpretation, frame.bits_stored = "MONOCHROME2", 12
    spec.golden.batch_sizes.append(1)
    png = io.BytesIO()
    Picture.fromarray(ramp).save(png, "PNG")
    files = {frame.image: png.getvalue()}
    for role, tensor in inputs.items():
        network, case = spec.networks[role], frame.networks[role]
        session = onnxruntime.InferenceSession(graphs[network.file])
        fed = {"image": tensor.pixels[None]}
        if network.input.takes_image_size:
            fed["image_size"] = np.array([tensor.size], np.int32)
        names = [output.name for output in session.get_outputs()]
        outputs = dict(zip(names, session.run(names, fed), strict=True))
        case.input_sha256 = hashlib.sha256(tensor.pixels.tobytes()).hexdigest()
        case.height, case.width = tensor.size
        case.outputs = f"golden/{role}.npz"
        stored = io.BytesIO()
        np.savez(stored, **{name: value[0] for name, value in outputs.items()})
        files[case.outputs] = stored.getvalue()
        for name in names:
            network.parity.outputs.add(output=name, tolerance_abs=1e-3)
    return files


def _trunk(channels: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    rng = np.random.default_rng(0)
    weights = [
        rng.normal(0, 0.02, (channels, 1, 3, 3)),
        rng.normal(0, 0.1, (channels, channels, 3, 3)),
    ]
    nodes = [helper.make_node("Cast", ["image"], ["x0"], to=TensorProto.FLOAT)]
    stored = []
    for i, weight in enumerate(weights):
        stored.append(numpy_helper.from_array(weight.astype(np.float32), f"w{i}"))
        conv = helper.make_node(
            "Conv", [f"x{i}", f"w{i}"], [f"c{i}"], pads=[1] * 4, strides=[2, 2]
        )
        nodes += [conv, helper.make_node("Relu", [f"c{i}"], [f"x{i + 1}"])]
    nodes.append(helper.make_node("GlobalAveragePool", ["x2"], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"]))
    return nodes, stored


def _classifier(channels: int) -> bytes:
    nodes, stored = _trunk(channels)
    head = np.full((channels, 1), 0.01, np.float32)
    stored.append(numpy_helper.from_array(head, "head"))
    nodes.append(helper.make_node("MatMul", ["features", "head"], ["logits"]))
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1])
    return _model(nodes, stored, [_image()], [logits])


def _detector(channels: int) -> bytes:
    nodes, stored = _trunk(channels)
    rng = np.random.default_rng(1)
    heads = {
        "box_head": rng.uniform(0, 0.01, (channels, 4 * CANDIDATES)),
        "score_head": rng.normal(0, 0.01, (channels, CANDIDATES)),
    }
    for name, weight in heads.items():
        stored.append(numpy_helper.from_array(weight.astype(np.float32), name))
    offset = np.tile([0, 0, 20, 20], CANDIDATES).astype(np.float32)
    stored.append(numpy_helper.from_array(offset, "offset"))
    shape = np.array([0, CANDIDATES, 4])
    stored.append(numpy_helper.from_array(shape, "box_shape"))
    nodes += [
        helper.make_node("MatMul", ["features", "box_head"], ["flat"]),
        helper.make_node("Add", ["flat", "offset"], ["shifted"]),
        helper.make_node("Reshape", ["shifted", "box_shape"], ["boxes"]),
        helper.make_node("MatMul", ["features", "score_head"], ["raw"]),
        helper.make_node("Sigmoid", ["raw"], ["scores"]),
        helper.make_node("Shape", ["scores"], ["label_shape"]),
        helper.make_node(
            "ConstantOfShape",
            ["label_shape"],
            ["labels"],
            value=helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        ),
    ]
    size = helper.make_tensor_value_info("image_size", TensorProto.INT32, ["N", 2])
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", CANDIDATES, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CANDIDATES]),
        helper.make_tensor_value_info("labels", TensorProto.INT64, ["N", CANDIDATES]),
    ]
    return _model(nodes, stored, [_image(), size], outputs)


def _image() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        "image", TensorProto.UINT8, ["N", 1, "height", "width"]
    )


def _model(
    nodes: list[onnx.NodeProto],
    stored: list[onnx.TensorProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> bytes:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, stored)
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()
