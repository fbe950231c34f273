"""A bundle whose values cannot be meant is refused, by export and runtime alike."""

from __future__ import annotations

import pytest
from google.protobuf import json_format
from support.bundles import tiny_spec

from spinert.proto import bundle_pb2 as pb
from spinert.proto.bundle_rules import (
    RESAMPLER_VERSIONS,
    broken_choices,
    broken_rules,
)

# Overrides of the tiny bundle in protobuf JSON by dotted path, and what is said.
BREAKS = [
    # enum values without a name
    ("grey.voi", 99, "grey.voi: 99 is not known; one of VOI_LUT_THEN_WINDOW"),
    ("grey.constant_image", 9, "constant_image: 9 is not known"),
    ("combination.rule", 55, "combination.rule: 55 is not known"),
    ("decision.comparison", 7, "decision.comparison: 7 is not known"),
    ("fusion.rule", 77, "fusion.rule: 77 is not known; one of FUSION_PAPER"),
    ("fusion.comparison", 3, "fusion.comparison: 3 is not known"),
    ("networks.detector.input.element_type", 3, "detector.input.element_type: 3 is"),
    ("networks.classifier.input.resampler", 8, "classifier.input.resampler: 8 is"),
    ("networks.classifier.output", 9, "networks.classifier.output: 9 is not known"),
    # values that must be set
    ("grey.voi", 0, "grey.voi: must be set"),
    ("grey.constant_image", 0, "grey.constant_image: must be set"),
    ("combination.rule", 0, "combination.rule: must be set"),
    ("decision.comparison", 0, "decision.comparison: must be set"),
    ("fusion.rule", 0, "fusion.rule: must be set"),
    ("fusion.comparison", 0, "fusion.comparison: must be set for FUSION_PAPER"),
    ("networks.detector.input.element_type", 0, "input.element_type: must be set"),
    ("networks.detector.input.resampler", 0, "input.resampler: must be set"),
    ("classes", [], "classes: at least one"),
    ("networks.classifier.members", [], "classifier.members: must name one"),
    ("networks.classifier.output", 2, "classifier.output: must be OUTPUT_LOGITS"),
    ("networks.detector.output", 1, "detector.output: must be OUTPUT_CANDIDATES"),
    ("networks.detector.output", 0, "detector.output: must be OUTPUT_CANDIDATES"),
    # numbers of decisions
    ("decision.threshold", "NaN", "decision.threshold: must be a finite number"),
    ("decision.threshold", 0.0, "decision.threshold: must lie in (0, 1)"),
    ("decision.threshold", 1.0, "decision.threshold: must lie in (0, 1)"),
    ("decision.uncertain_from", -0.1, "uncertain_from: must lie in [0, 1]"),
    ("decision.uncertain_to", 1.1, "uncertain_to: must lie in [0, 1]"),
    ("decision.uncertain_to", "NaN", "uncertain_to: must be a finite number"),
    ("decision.uncertain_from", 0.9, "uncertain_from: must not exceed"),
    ("combination.probability_clip", 0.5, "probability_clip: must lie in [0, 0.5)"),
    ("combination.weights", [-0.5, 1.5], "combination.weights: must be at least 0"),
    ("combination.weights", ["NaN", 1.0], "combination.weights: must be a finite"),
    ("fusion.low_confidence_cutoff", 1.01, "cutoff: must lie in [0, 1]"),
    ("fusion.low_confidence_cutoff", "NaN", "cutoff: must be a finite number"),
    ("fusion.reverse", {}, "fusion.reverse.threshold: must lie in (0, 1]"),
    ("fusion.reverse", {"threshold": 1.5}, "reverse.threshold: must lie in (0, 1]"),
    (
        "fusion.reverse",
        {"threshold": 0.5, "no_box_score": -1},
        "no_box_score: must lie in [0, 1]",
    ),
    # numbers of the detector
    ("networks.detector.detection", {}, "detection.candidates: must be at least 1"),
    (
        "networks.detector.detection.max_detections",
        0,
        "max_detections: must be at least 1",
    ),
    ("networks.detector.detection.nms_iou", 1.5, "nms_iou: must lie in [0, 1]"),
    ("networks.detector.detection.nms_iou", -0.1, "nms_iou: must lie in [0, 1]"),
    ("networks.detector.detection.score_floor", "NaN", "score_floor: must be a finite"),
    ("networks.detector.detection.score_floor", 2, "score_floor: must lie in [0, 1]"),
    (
        "networks.detector.detection.min_box_edge_px",
        "Infinity",
        "edge_px: must be a finite",
    ),
    ("networks.detector.detection.min_box_edge_px", -1, "edge_px: must be at least 0"),
    # inputs
    ("networks.detector.input.mean", ["NaN", 0, 0], "input.mean: must be a finite"),
    (
        "networks.detector.input.fill",
        ["Infinity", 0, 0],
        "input.fill: must be a finite",
    ),
    ("networks.detector.input.std", ["Infinity", 1, 1], "input.std: must be a finite"),
    ("networks.detector.input.std", [0, 1, 1], "input.std: must be above 0"),
    ("networks.detector.input.mean", [1], "need one value per channel"),
    (
        "networks.detector.input.resampler",
        "TORCH_BILINEAR_F32",
        "resampler: ELEMENT_UINT8 needs PILLOW_BILINEAR_U8_HORIZONTAL_FIRST",
    ),
    (
        "networks.detector.input.resampler_version",
        "pillow 13",
        "resampler_version: 'pillow 13' is not known; "
        "PILLOW_BILINEAR_U8_HORIZONTAL_FIRST is 'pillow<=12' in format 1",
    ),
    ("networks.detector.input.resampler_version", "", "'' is not known"),
    # canvases
    ("networks.detector.input.canvas", {}, "input.canvas: must name one policy"),
    (
        "networks.classifier.input.canvas.fixed.height",
        0,
        "classifier.input.canvas.fixed.height: must lie in [1, 16384]",
    ),
    (
        "networks.classifier.input.canvas.fixed.width",
        16385,
        "fixed.width: must lie in [1, 16384]",
    ),
    (
        "networks.detector.input.canvas",
        {"letterbox": {"height": 32}},
        "letterbox.width: must lie in [1, 16384]",
    ),
    (
        "networks.detector.input.canvas.shortest_edge.pad_multiple",
        0,
        "shortest_edge.pad_multiple: must lie in [1, 16384]",
    ),
    (
        "networks.detector.input.canvas",
        {"native": {}},
        "native.pad_multiple: must lie in [1, 16384]",
    ),
    (
        "networks.detector.input.canvas.shortest_edge.max_long_edge",
        63,
        "max_long_edge: must not be below short_edge",
    ),
    # the rest
    ("format", 2, "format: 2 is not supported"),
    ("name", "", "name: name and version"),
    ("version", "", "name: name and version"),
    ("golden.batch_sizes", [0], "golden.batch_sizes: must be at least 1"),
    ("networks.detector.file", "networks/classifier.onnx", "two share one file name"),
]


def changed(path, value):
    """Return the tiny bundle with the field at `path` replaced by protobuf JSON."""
    spec = tiny_spec()
    message, name = owner_of(spec, path)
    message.ClearField(name)
    json_format.ParseDict({name: value}, message)
    return spec


def owner_of(spec, path):
    *parents, name = path.split(".")
    message = spec
    for parent in parents:
        is_map = not hasattr(message, "DESCRIPTOR")
        message = message[parent] if is_map else getattr(message, parent)
    return message, name


def listed(spec):
    """Add the files that `spec` names, as writing a bundle does."""
    for network in spec.networks.values():
        spec.files.add(path=network.file)
    return spec


def test_the_tiny_bundle_breaks_no_rule():
    assert broken_rules(listed(tiny_spec())) == []


@pytest.mark.parametrize(
    ("path", "value", "told"), BREAKS, ids=[f"{p}={v}" for p, v, _ in BREAKS]
)
def test_every_value_is_checked(path, value, told):
    assert any(told in rule for rule in broken_rules(changed(path, value)))


@pytest.mark.parametrize("weights", [[0.5], [0.5, 0.6], []])
def test_weights_belong_to_members_and_add_up(weights):
    spec = tiny_spec()
    spec.combination.rule = pb.COMBINATION_WEIGHTED
    spec.combination.weights.extend(weights)
    assert "combination.weights: give 2 weights" in broken_choices(spec)[0]
    del spec.combination.weights[:]
    spec.combination.weights.extend([0.25, 0.75])
    assert broken_choices(spec) == []


@pytest.mark.parametrize("role", ["classifier", "detector"])
def test_both_roles_are_needed(role):
    spec = tiny_spec()
    del spec.networks[role]
    assert broken_choices(spec) == [f"networks.{role}: is missing"]


def test_other_roles_are_refused_by_name():
    spec = tiny_spec()
    spec.networks["segmenter"].file = "networks/segmenter.onnx"
    expected = "networks.segmenter: this runtime runs classifier and detector"
    assert broken_choices(spec) == [expected]


@pytest.mark.parametrize(
    "canvas",
    [
        {"letterbox": {"height": 32, "width": 32}},
        {"native": {"pad_multiple": 32}},
        {"shortest_edge": {"short_edge": 8, "max_long_edge": 9, "pad_multiple": 2}},
    ],
)
def test_a_classifier_must_be_told_of_padding(canvas):
    spec = changed("networks.classifier.input.canvas", canvas)
    (rule,) = broken_choices(spec)
    assert "pads, and nothing tells this classifier the padding" in rule
    spec.networks["classifier"].input.takes_image_size = True
    assert broken_choices(spec) == []


def test_a_canvas_without_padding_suits_any_classifier():
    canvas = {"native": {"pad_multiple": 1}}
    assert broken_choices(changed("networks.classifier.input.canvas", canvas)) == []


@pytest.mark.parametrize("resampler", RESAMPLER_VERSIONS)
def test_float_inputs_take_either_resampler(resampler):
    spec = tiny_spec()
    network_input = spec.networks["detector"].input
    network_input.element_type = pb.ELEMENT_FLOAT32
    network_input.resampler = resampler
    network_input.resampler_version = RESAMPLER_VERSIONS[resampler]
    assert broken_choices(spec) == []


@pytest.mark.parametrize(
    "limit",
    [
        ("decision.uncertain_to", 1),
        ("fusion.low_confidence_cutoff", 0),
        ("fusion.low_confidence_cutoff", 1),
        ("fusion.reverse", {"threshold": 1}),
        ("networks.detector.detection.nms_iou", 0),
        ("networks.detector.detection.nms_iou", 1),
        ("networks.classifier.input.canvas.fixed.width", 16384),
        ("networks.classifier.input.canvas.fixed.width", 1),
    ],
)
def test_the_ends_of_a_range_belong_to_it(limit):
    assert broken_choices(changed(*limit)) == []


OUTSIDE = pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a//b", "./a"])


@OUTSIDE
def test_a_network_file_outside_the_bundle_is_refused(path):
    spec = changed("networks.detector.file", path)
    assert "networks.detector.file" in broken_choices(spec)[0]
    assert "inside the bundle" in broken_choices(spec)[0]


@OUTSIDE
def test_paths_that_leave_the_bundle_are_refused(path):
    spec = listed(tiny_spec())
    spec.files.add(path=path)
    assert any("inside the bundle" in rule for rule in broken_rules(spec))


def test_a_file_is_listed_once_and_every_file_named_is_listed():
    spec = listed(tiny_spec())
    spec.files.add(path=spec.files[0].path)
    spec.networks["detector"].file = "other.onnx"
    assert broken_rules(spec) == [
        "files: one is listed twice",
        "networks.detector.file: 'other.onnx' is not in files",
    ]


def test_a_golden_frame_may_only_name_networks_there_are():
    spec = listed(tiny_spec())
    frame = spec.golden.frames.add(name="one", image=spec.files[0].path)
    frame.networks["segmenter"].outputs = spec.files[0].path
    expected = "golden.frames.one: there is no network 'segmenter'"
    assert broken_rules(spec) == [expected]
