"""RetinaNet as ONNX: exported, served by ONNX Runtime, built by TensorRT-RTX."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.onnx_files import classifier_file
from support.small_networks import RECIPE, SMALL, write_recipe
from torch import Tensor, nn

from spinert.export.families.retinanet import retinanet
from spinert.export.networks.detector import DetectorGraph
from spinert.export.networks.grey_input import PreparedInput
from spinert.export.networks.resnet_fpn import ResNetSpec
from spinert.export.networks.retinanet import RetinaNetSpec
from spinert.export.onnx_from_torch import GraphSpec, onnx_from_torch
from spinert.export.pipeline import export_bundle
from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.onnxruntime import OnnxRuntimeBackend
from spinert.runtime.bundle import load_bundle
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.gate.running import run_gate

pytestmark = pytest.mark.slow

SMALL_RETINANET = retinanet(
    RetinaNetSpec(
        backbone=ResNetSpec(blocks=(1, 1, 1, 1), stem=8, pyramid=32, levels=(3, 4, 5)),
        top_k=100,
    )
)
CHANGES = {
    """
[[classifier]]
name = "first"
architecture = "small_densenet"
checkpoint = "untrained:1"

[[classifier]]
name = "second"
architecture = "small_densenet"
checkpoint = "untrained:2"
""": """
[[classifier]]
architecture = "onnx"
checkpoint = "classifier.onnx"
mapping = { meaning = "two_logits" }
""",
    'architecture = "small_sparse_rcnn"': (
        'architecture = "small_retinanet"\nstyle = "torchvision"'
    ),
    'preset = "vindr"': 'preset = "vindr"\nprecisions = ["fp32"]',
    "[bundle.networks.detector.detection]\ncandidates = 30\n": "",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    text = RECIPE
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    folder = tmp_path_factory.mktemp("retinanet")
    classifier_file(folder / "classifier.onnx")
    networks = {**SMALL, "small_retinanet": SMALL_RETINANET}
    recipe = write_recipe(folder, text)
    export_bundle(recipe, folder / "bundle", lambda *_: None, architectures=networks)
    return folder / "bundle"


def test_a_float_input_is_reproduced_and_every_slot_answers_alike(directory) -> None:
    bundle = load_bundle(directory)
    detector = bundle.spec.networks["detector"]
    assert detector.input.element_type == pb.ELEMENT_FLOAT32
    assert detector.detection.candidates == 500
    with closing(OnnxRuntimeBackend(BackendOptions(threads=1))) as backend:
        load_networks(backend, bundle)
        # Refuses inputs whose SHA-256 is not that of the export's own preprocessing.
        report = run_gate(bundle, backend, range(1, 9), lambda *_: None)
    report.require_passed()


def test_tensorrt_rtx_builds_the_graph_for_sm86(directory) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    model = (directory / "networks" / "detector.onnx").read_bytes()
    assert parser.parse(model), parser.get_error(0)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("image", (1, 3, 64, 64), (2, 3, 128, 128), (4, 3, 224, 224))
    profile.set_shape("image_size", (1, 2), (2, 2), (4, 2))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config).nbytes > 0


def test_indices_are_never_divided_as_floats(directory) -> None:
    model = onnx.load(directory / "networks" / "detector.onnx")
    assert "TopK" in {node.op_type for node in model.graph.node}
    assert "Floor" not in {node.op_type for node in model.graph.node}


class Corners(nn.Module):
    """A detector that does not look at the size of the image."""

    def forward(self, x: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, index = torch.topk(x.flatten(1), 3, dim=1)
        row = torch.div(index, 7, rounding_mode="floor")
        boxes = torch.stack((row, row, index, index), dim=2).to(torch.float32)
        return boxes, scores, index - 7 * row


def test_an_input_that_nothing_reads_stays_in_the_graph() -> None:
    spec = GraphSpec(
        inputs=("image", "image_size"),
        outputs=("boxes", "scores", "labels"),
        dynamic=({0: "batch", 2: "height", 3: "width"}, {0: "batch"}),
    )
    generator = torch.Generator().manual_seed(2)
    image = torch.randn((3, 3, 96, 64), generator=generator)
    size = torch.tensor([[96, 64]] * 3, dtype=torch.int32)
    graph = DetectorGraph(PreparedInput(), Corners(), None).eval()
    model = onnx_from_torch(graph, (image[:2], size[:2]), spec)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert [value.name for value in session.get_inputs()] == list(spec.inputs)
    found = session.run(None, {"image": image.numpy(), "image_size": size.numpy()})
    for ours, expected in zip(found, graph(image, size), strict=True):
        np.testing.assert_array_equal(ours, expected.numpy())
