"""The exported EfficientDet: its operators, and what other back ends make of it."""

from __future__ import annotations

import onnx
import pytest
from support.efficientdets import calibrated, candidates, graph_of, style
from support.small_networks import batch

from spinert.export.onnx_from_torch import GraphSpec, onnx_from_torch
from spinert.export.parity import Golden, measured_parity
from spinert.proto.agreement import FP32, TOLERANCES, AgreementRule

BATCH = {0: "batch"}
SPEC = GraphSpec(
    inputs=("image", "image_size"),
    outputs=("boxes", "scores", "labels"),
    dynamic=(BATCH, BATCH),
)


@pytest.fixture(scope="module", params=["effdet_tf", "effdet"])
def exported(request, tmp_path_factory):
    """A form's graph in PyTorch, its ONNX file, and frames."""
    network, frames = calibrated(request.param, "small")
    graph = graph_of(network, style(request.param, "small"))
    path = tmp_path_factory.mktemp("efficientdet") / "detector.onnx"
    onnx.save(onnx_from_torch(graph, batch(frames[:2]), SPEC), path)
    return graph, path, frames


def test_onnx_runtime_agrees_at_every_batch_size_and_slot(exported) -> None:
    graph, path, frames = exported
    alone = [candidates(graph, *batch([frame]))[0] for frame in frames]
    golden = Golden(frames=frames, references=alone, batch_sizes=range(1, 9))
    rule = AgreementRule(tolerances=TOLERANCES[FP32], exact=True)
    measured = measured_parity(path, golden, rule)
    assert measured.differences.keys() == {"boxes", "scores", "labels"}
    for name, gap in measured.differences.items():
        assert gap.max_abs <= TOLERANCES[FP32][name]


def test_the_graph_has_a_fixed_canvas_and_folded_fusion_weights(exported) -> None:
    _, path, _ = exported
    model = onnx.load(path)
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["batch", 1, 256, 256]
    operators = [node.op_type for node in model.graph.node]
    # Relu and the sum of fusion weights would be there if they were not constants.
    assert not {"Relu", "ReduceSum", "Resize", "Loop", "If"} & set(operators)
    assert operators.count("TopK") == 1
    assert operators.count("MaxPool") == 6


def test_tensorrt_rtx_builds_the_graph(exported) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse_from_file(str(exported[1]))
    assert parsed, [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    for name, rest in (("image", (1, 256, 256)), ("image_size", (2,))):
        profile.set_shape(name, (1, *rest), (2, *rest), (4, *rest))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    assert engine.nbytes > path_bytes(exported[1]) / 4


def path_bytes(path) -> int:
    return path.stat().st_size
