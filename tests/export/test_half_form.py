"""FP16 forms of real networks: close enough, built by TensorRT-RTX, in the bundle."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from google.protobuf import json_format
from support.onnx_files import classifier_file, yolo_file
from support.small_networks import RECIPE, SMALL, write_recipe

from spinert.export.errors import ParityError
from spinert.export.pipeline import export_bundle
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import TOLERANCES
from spinert.proto.bundle_rules import broken_rules

ROLES = ("classifier", "detector")
# Nothing here has to be converted by PyTorch.
IMPORTED = """
name = "imported"
version = "1"
preset = "vindr"
{precisions}

[[classifier]]
architecture = "onnx"
checkpoint = "first.onnx"
mapping = {{ meaning = "two_logits" }}

[detector]
architecture = "onnx"
checkpoint = "yolo.onnx"
mapping = {{ head = "dense" }}

[golden]
sizes = [[160, 128], [160, 128], [128, 160]]
batch_sizes = [1]

[bundle.networks.classifier.input.canvas.fixed]
height = 64
width = 64

[bundle.networks.detector.input]
mean = [0, 0, 0]
std = [255, 255, 255]

[bundle.networks.detector.detection]
nms_iou = 0.65
score_floor = 0.25
"""


def bundle_of(directory: Path) -> pb.Bundle:
    return json_format.Parse((directory / "bundle.json").read_text(), pb.Bundle())


@pytest.mark.parametrize("role", ROLES)
def test_a_bundle_has_an_fp16_form_of_every_network(small_bundle, role) -> None:
    bundle = bundle_of(small_bundle)
    (form,) = bundle.networks[role].forms
    assert (form.file, form.precision) == (f"networks/{role}.fp16.onnx", "fp16")
    assert form.file in {file.path for file in bundle.files}
    single = (small_bundle / bundle.networks[role].file).stat().st_size
    assert (small_bundle / form.file).stat().st_size < 0.8 * single
    onnx.checker.check_model(str(small_bundle / form.file), full_check=True)


@pytest.mark.parametrize("role", ROLES)
def test_its_differences_are_measured_and_said_to_be_emulated(
    small_bundle, role
) -> None:
    (form,) = bundle_of(small_bundle).networks[role].forms
    assert form.parity.compared.endswith("float16 emulated in float32")
    assert form.parity.reference.startswith("torch ")
    assert list(form.parity.batch_sizes) == [1, 2]
    for output in form.parity.outputs:
        assert output.tolerance_abs == TOLERANCES["fp16"][output.output]
        if output.output != "labels":
            # Half cannot be exact: a zero would mean that nothing was rounded.
            assert 1e-4 < output.measured_max_abs <= output.tolerance_abs / 2
            assert 0 < output.measured_mean_abs < output.measured_max_abs


def test_what_stays_in_float32_is_recorded_with_reasons(small_bundle) -> None:
    networks = bundle_of(small_bundle).networks
    (form,) = networks["classifier"].forms
    operators = sorted(node.operator for node in form.kept_fp32)
    assert operators == [
        "Cast",
        "Div",
        "Gemm",
        "Gemm",
        "ReduceMean",
        "ReduceMean",
        "Sub",
    ]
    (form,) = networks["detector"].forms
    assert all(node.node and node.reason for node in form.kept_fp32)
    kept = {node.operator for node in form.kept_fp32}
    assert {"Exp", "Softmax", "TopK", "GreaterOrEqual", "Sqrt"} <= kept
    assert not {"Conv", "LayerNormalization", "Relu"} & kept


def test_features_are_half_and_casts_are_few(small_bundle) -> None:
    model = onnx.load(small_bundle / "networks/detector.fp16.onnx")
    casts = [
        node
        for node in model.graph.node
        if node.op_type == "Cast" and node.name.endswith(".cast")
    ]
    assert len(casts) < 25
    made = {name: node for node in model.graph.node for name in node.output}
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    weights = {item.name: item.data_type for item in model.graph.initializer}
    assert {weights[conv.input[1]] for conv in convs} == {onnx.TensorProto.FLOAT16}
    into_convs = {made[conv.input[0]].op_type for conv in convs}
    assert into_convs <= {"Cast", "Relu", "MaxPool", "Add", "Conv"}


@pytest.mark.parametrize("role", ROLES)
def test_tensorrt_rtx_builds_it_strongly_typed(small_bundle, role) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse((small_bundle / f"networks/{role}.fp16.onnx").read_bytes())
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    edge = 64 if role == "classifier" else 160
    profile.set_shape("image", *((n, 1, edge, edge) for n in (1, 2, 4)))
    if role == "detector":
        profile.set_shape("image_size", (1, 2), (2, 2), (4, 2))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    types = {output.name: output.dtype for output in outputs}
    assert types.pop("labels", trt.int64) == trt.int64
    assert set(types.values()) == {trt.float32}


def exported(folder: Path, text: str) -> Path:
    recipe = write_recipe(folder, text)
    target = folder / "bundle"
    export_bundle(recipe, target, lambda *_: None, architectures=SMALL)
    return target


@pytest.mark.parametrize(
    ("wanted", "forms"), [("", 1), ('precisions = ["fp32"]', 0)], ids=["both", "fp32"]
)
def test_a_recipe_may_want_float32_only(tmp_path, wanted, forms) -> None:
    classifier_file(tmp_path / "first.onnx")
    yolo_file(tmp_path / "yolo.onnx", size=(160, 160))
    target = exported(tmp_path, IMPORTED.format(precisions=wanted))
    bundle = bundle_of(target)
    assert broken_rules(bundle) == []
    assert [len(network.forms) for network in bundle.networks.values()] == [forms] * 2
    assert len(list(target.rglob("*fp16*"))) == 2 * forms


def test_a_form_that_is_too_far_off_leaves_nothing_behind(
    tmp_path, monkeypatch
) -> None:
    limits = {"logits": 1e-6}
    monkeypatch.setattr("spinert.export.half.tolerances._HALF_LIMITS", limits)
    tight = {"fp32": TOLERANCES["fp32"], "fp16": {"logits": 1e-6}}
    monkeypatch.setattr("spinert.proto.agreement.TOLERANCES", tight)
    monkeypatch.setattr("spinert.export.half.tolerances.TOLERANCES", tight)
    with pytest.raises(ParityError, match=r'classifier in fp16: logits .*"fp32"\]'):
        exported(tmp_path, RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


def test_a_form_outside_the_list_of_files_is_refused(small_bundle) -> None:
    bundle = bundle_of(small_bundle)
    bundle.networks["detector"].forms[0].file = "../elsewhere.onnx"
    broken = "networks.detector.forms: '../elsewhere.onnx' is not in files"
    assert broken in broken_rules(bundle)
