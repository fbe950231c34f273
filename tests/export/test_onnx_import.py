"""ONNX files of others as networks of a bundle, against NumPy oracles."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import json_format
from onnx import TensorProto, helper, numpy_helper
from support.onnx_files import (
    FLOAT,
    IMPORTED_RECIPE,
    STRIDE,
    FileBuilder,
    classifier_file,
    contract_files,
    dense_values,
    yolo_file,
)
from support.small_networks import SMALL, golden_frames, write_recipe

from spinert.export.errors import GraphError, RecipeError
from spinert.export.members import opened_recipe
from spinert.export.onnx_import.imported import (
    ImportedFile,
    imported_classifier,
    imported_detector,
)
from spinert.export.onnx_import.reading import model_from_file
from spinert.export.onnx_import.running import check_weights
from spinert.export.pipeline import export_bundle
from spinert.export.plan import bundle_from_recipe
from spinert.export.preprocess import NetworkFrame
from spinert.export.recipe import recipe_from_toml
from spinert.proto import bundle_pb2 as pb
from spinert.proto.bundle_rules import broken_rules

CLASSES = 7
MEAN, STD, FILL = (0.0, 10.0, 20.0), (255.0, 200.0, 150.0), (0.25, 0.5, 0.75)


def stated(*, is_detector: bool = True) -> pb.NetworkInput:
    edge = pb.ShortestEdge(short_edge=96, max_long_edge=320, pad_multiple=32)
    fixed = pb.FixedCanvas(height=64, width=64)
    canvas = pb.CanvasPolicy(shortest_edge=edge) if is_detector else None
    return pb.NetworkInput(
        element_type=pb.ELEMENT_UINT8,
        canvas=canvas or pb.CanvasPolicy(fixed=fixed),
        mean=MEAN,
        std=STD,
        fill=FILL,
        takes_image_size=is_detector,
    )


def network(keep: int, **canvas: pb.Letterbox) -> pb.Network:
    result = pb.Network(input=stated(), detection=pb.DetectionRule(candidates=keep))
    if canvas:
        result.input.canvas.CopyFrom(pb.CanvasPolicy(**canvas))
    return result


@pytest.fixture(scope="module")
def frames() -> list[NetworkFrame]:
    return golden_frames(stated().canvas, count=2)


def imported(path: Path, **mapping: object) -> ImportedFile:
    return ImportedFile(read=model_from_file(path), mapping=mapping, where="detector")


def normalised(frame: NetworkFrame) -> np.ndarray:
    """Return float32 (1,3,H,W) as GreyInput defines it, in NumPy."""
    image = frame.image.astype(np.float32)
    planes = []
    for mean, std, fill in zip(MEAN, STD, FILL, strict=True):
        plane = np.full(image.shape[1:], fill, np.float32)
        valid = image[0, : frame.height, : frame.width]
        plane[: frame.height, : frame.width] = (valid - np.float32(mean)) / np.float32(
            std
        )
        planes.append(plane)
    return np.stack(planes)[None]


def raw(path: Path, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def best_of(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, keep: int):
    order = np.argsort(-scores, kind="stable")[:keep]
    return boxes[order], scores[order], labels[order]


def corners(boxes: np.ndarray) -> np.ndarray:
    cx, cy, w, h = boxes.T
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1)


def assert_found(made, frame: NetworkFrame, expected) -> None:
    found = made.runner.outputs([frame])
    boxes, scores, labels = expected
    np.testing.assert_allclose(found["scores"][0], scores, atol=1e-6)
    np.testing.assert_allclose(found["boxes"][0], boxes, atol=1e-3)
    np.testing.assert_array_equal(found["labels"][0], labels)
    assert found["labels"].dtype == np.int64
    assert found["boxes"].dtype == found["scores"].dtype == np.float32


@pytest.mark.parametrize("boxes_first", [False, True])
def test_a_yolo_head_gives_the_best_class_of_each_box(
    tmp_path, frames, boxes_first
) -> None:
    path = yolo_file(tmp_path / "yolo.onnx", boxes_first=boxes_first)
    axis = 1 if boxes_first else 2
    file = imported(path, head="dense", boxes_axis=axis)
    made = imported_detector(file, network(10), CLASSES, frames)
    for frame in frames:
        (value,) = raw(path, {"images": normalised(frame)})
        table = value[0] if boxes_first else value[0].T
        scores, labels = table[:, 4:].max(axis=1), table[:, 4:].argmax(axis=1)
        expected = best_of(corners(table[:, :4]), scores, labels, 10)
        assert_found(made, frame, expected)


def test_several_labels_of_a_box_are_candidates_of_their_own(tmp_path, frames) -> None:
    path = yolo_file(tmp_path / "yolo.onnx")
    file = imported(path, head="dense", multi_label=True)
    made = imported_detector(file, network(30), CLASSES, frames)
    (value,) = raw(path, {"images": normalised(frames[0])})
    table = value[0].T
    boxes = np.repeat(corners(table[:, :4]), CLASSES, axis=0)
    labels = np.tile(np.arange(CLASSES), len(table))
    expected = best_of(boxes, table[:, 4:].flatten(), labels, 30)
    assert_found(made, frames[0], expected)


def test_objectness_logits_and_background_are_understood(tmp_path, frames) -> None:
    builder = FileBuilder()
    value = builder.patches("x", 3, 4 + 1 + 1 + CLASSES, 0.2 / STRIDE)
    builder.call(value, "out")
    path = builder.save(
        tmp_path / "v5.onnx",
        [("x", FLOAT, ["n", 3, "h", "w"])],
        [("out", FLOAT, ["n", 13, "a"])],
    )
    file = imported(
        path,
        head="dense",
        objectness=True,
        score_kind="logits",
        background="first",
        box_format="xyxy",
    )
    made = imported_detector(file, network(12), CLASSES, frames)
    (value,) = raw(path, {"x": normalised(frames[0])})
    table = value[0].T.astype(np.float64)
    sure = 1 / (1 + np.exp(-table[:, 4:]))
    scores = sure[:, 2:] * sure[:, :1]
    expected = best_of(table[:, :4], scores.max(axis=1), scores.argmax(axis=1), 12)
    assert_found(made, frames[0], expected)


@pytest.mark.parametrize("background", ["none", "first", "last"])
@pytest.mark.parametrize("unit", ["pixels", "input", "image"])
def test_separate_outputs_and_fractions_are_understood(
    tmp_path, frames, background, unit
) -> None:
    extra = int(background != "none")
    builder = FileBuilder()
    value = dense_values(builder, "x", 3, 4 + CLASSES + extra)
    value = builder.add("Transpose", value, perm=[0, 2, 1])
    sizes = builder.weight([4, CLASSES + extra], np.int64)
    first = builder.add("Split", value, sizes, axis=2)
    builder.nodes[-1].output.append("second")
    builder.call(first, "pred_boxes")
    builder.call("second", "pred_scores")
    path = builder.save(
        tmp_path / "detr.onnx",
        [("x", FLOAT, ["n", 3, "h", "w"])],
        [
            ("pred_boxes", FLOAT, ["n", "a", 4]),
            ("pred_scores", FLOAT, ["n", "a", CLASSES + extra]),
        ],
    )
    file = imported(
        path,
        head="separate",
        boxes="pred_boxes",
        scores="pred_scores",
        background=background,
        box_unit=unit,
        box_format="cxcywh",
    )
    made = imported_detector(file, network(12), CLASSES, frames)
    frame = frames[0]
    boxes, scores = (value[0] for value in raw(path, {"x": normalised(frame)}))
    assert (frame.height, frame.width) != frame.image.shape[1:]
    height, width = {
        "pixels": (1, 1),
        "input": frame.image.shape[1:],
        "image": (frame.height, frame.width),
    }[unit]
    scale = np.array([width, height, width, height], np.float32)
    scores = {"none": scores, "first": scores[:, 1:], "last": scores[:, :-1]}[
        background
    ]
    table = corners(boxes) * scale
    expected = best_of(table, scores.max(axis=1), scores.argmax(axis=1), 12)
    assert_found(made, frame, expected)


def rows_file(path: Path, base: int) -> Path:
    """Write (N,A,6): corners, score, label from `base` on; a label may be 0."""
    builder = FileBuilder()
    value = dense_values(builder, "x", 3, 6, scale=12.0)
    value = builder.add("Transpose", value, perm=[0, 2, 1])
    scale = builder.weight([[[1, 1, 1, 1, 1, CLASSES - 0.01 + base]]])
    value = builder.add("Mul", value, scale)
    parts = builder.add("Split", value, builder.weight([5, 1], np.int64), axis=2)
    builder.nodes[-1].output.append("label")
    whole = builder.add("Floor", "label")
    builder.call(builder.add("Concat", parts, whole, axis=2), "out")
    inputs = [("x", FLOAT, ["n", 3, "h", "w"])]
    return builder.save(path, inputs, [("out", FLOAT, ["n", "a", 6])])


def test_rows_with_a_background_label_are_understood(tmp_path, frames) -> None:
    path = rows_file(tmp_path / "rows.onnx", 1)
    file = imported(path, head="rows", label_base=1, background="first")
    count = int(np.prod(frames[0].image.shape)) // STRIDE**2
    made = imported_detector(file, network(count), CLASSES, frames)
    (value,) = raw(path, {"x": normalised(frames[0])})
    labels = value[0, :, 5].astype(np.int64) - 1
    assert labels.min() == -1, "no background: this test proves nothing"
    scores = np.where(labels < 0, 0, value[0, :, 4])
    # All candidates are kept: they stay in the order of the file.
    expected = value[0, :, :4], scores, np.maximum(labels, 0)
    assert_found(made, frames[0], expected)


def test_the_size_of_each_image_reaches_a_file_that_asks_for_it(
    tmp_path, frames
) -> None:
    builder = FileBuilder()
    value = dense_values(builder, "x", 3, 4 + CLASSES)
    size = builder.add("Cast", "sizes", to=FLOAT)
    twice = builder.add("Concat", size, size, axis=1)
    column = builder.add("Unsqueeze", twice, builder.weight([2], np.int64))
    ones = builder.weight([4, CLASSES], np.int64)
    boxes = builder.add("Split", value, ones, axis=1)
    builder.nodes[-1].output.append("classes")
    scaled = builder.add("Mul", boxes, column)
    builder.call(builder.add("Concat", scaled, "classes", axis=1), "out")
    path = builder.save(
        tmp_path / "rtdetr.onnx",
        [("x", FLOAT, ["n", 3, "h", "w"]), ("sizes", 7, ["n", 2])],
        [("out", FLOAT, ["n", 4 + CLASSES, "a"])],
    )
    file = imported(
        path, head="dense", image_size="sizes", image_size_order="width_height"
    )
    made = imported_detector(file, network(9), CLASSES, frames)
    frame = frames[0]
    sizes = np.array([[frame.width, frame.height]], np.int64)
    (value,) = raw(path, {"x": normalised(frame), "sizes": sizes})
    table = value[0].T
    expected = best_of(
        corners(table[:, :4]), table[:, 4:].max(axis=1), table[:, 4:].argmax(axis=1), 9
    )
    assert_found(made, frame, expected)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_a_classifier_sees_what_its_input_says(tmp_path, layout, kind) -> None:
    builder = FileBuilder()
    value = "input"
    if layout == "nhwc":
        value = builder.add("Transpose", value, perm=[0, 3, 1, 2])
    if kind == "uint8":
        value = builder.add("Cast", value, to=FLOAT)
    value = builder.patches(value, 3, 1, 0.01 / STRIDE)
    builder.call(builder.add("ReduceMean", value, axes=[2], keepdims=0), "z")
    axes = ["n", 3, "h", "w"] if layout == "nchw" else ["n", "h", "w", 3]
    dtype = 2 if kind == "uint8" else FLOAT
    path = builder.save(
        tmp_path / "c.onnx", [("input", dtype, axes)], [("z", FLOAT, ["n", 1])]
    )
    frames = golden_frames(stated(is_detector=False).canvas, count=2)
    file = imported(path, layout=layout)
    made = imported_classifier([file], stated(is_detector=False), frames)
    value = normalised(frames[0])
    if kind == "uint8":
        value = np.repeat(frames[0].image[None], 3, axis=1)
    if layout == "nhwc":
        value = np.ascontiguousarray(value.transpose(0, 2, 3, 1))
    (expected,) = raw(path, {"input": value})
    found = made.runner.outputs([frames[0]])["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


MEANINGS = {
    "logit": (1, False, lambda z: z[0]),
    "two_logits": (2, False, lambda z: z[1] - z[0]),
    "probability": (1, True, lambda p: np.log(p[0] / (1 - p[0]))),
    "two_probabilities": (2, True, lambda p: np.log(p[1] / p[0])),
}


@pytest.mark.parametrize("meaning", MEANINGS)
def test_every_meaning_becomes_one_logit(tmp_path, meaning) -> None:
    outputs, softmax, logit = MEANINGS[meaning]
    path = classifier_file(tmp_path / "c.onnx", outputs=outputs, softmax=softmax)
    frames = golden_frames(stated(is_detector=False).canvas, count=2)
    file = imported(path, meaning=meaning)
    made = imported_classifier([file], stated(is_detector=False), frames)
    for frame in frames:
        (value,) = raw(path, {"input": normalised(frame)})
        found = made.runner.outputs([frame])["logits"]
        assert found.shape == (1, 1)
        np.testing.assert_allclose(found[0, 0], logit(value[0]), rtol=1e-3, atol=1e-4)


def test_the_other_of_two_classes_may_be_abnormal(tmp_path) -> None:
    path = classifier_file(tmp_path / "c.onnx")
    frames = golden_frames(stated(is_detector=False).canvas, count=2)
    found = []
    for abnormal in (0, 1):
        file = imported(path, meaning="two_logits", abnormal=abnormal)
        made = imported_classifier([file], stated(is_detector=False), frames)
        found.append(made.runner.outputs([frames[0]])["logits"].item())
    assert found[0] == pytest.approx(-found[1])
    assert abs(found[0]) > 1e-3


RECIPE = IMPORTED_RECIPE.replace(
    "[detector]",
    """[[classifier]]
name = "second"
architecture = "onnx"
checkpoint = "own_classifier.onnx"

[detector]""",
    1,
)


def write_files(folder: Path) -> None:
    classifier_file(folder / "first.onnx", seed=2)
    contract_files(folder)
    yolo_file(folder / "yolo.onnx", size=(160, 160))


def exported(folder: Path, text: str = RECIPE) -> pb.Bundle:
    recipe = write_recipe(folder, text)
    export_bundle(recipe, folder / "bundle", lambda *_: None, architectures=SMALL)
    text = (folder / "bundle" / "bundle.json").read_text()
    return json_format.Parse(text, pb.Bundle())


def test_a_bundle_is_made_of_onnx_files_alone(tmp_path) -> None:
    write_files(tmp_path)
    bundle = exported(tmp_path)
    assert broken_rules(bundle) == []
    assert not bundle.notice
    detector = bundle.networks["detector"]
    assert (detector.input.canvas.letterbox.height, detector.architecture) == (
        160,
        "onnx",
    )
    assert detector.detection.candidates == 100
    assert detector.parity.reference.startswith("onnxruntime")
    assert bundle.networks["classifier"].members == ["first", "second"]
    records = {r.source: r for r in bundle.provenance.checkpoints}
    assert set(records) == {"first.onnx", "own_classifier.onnx", "yolo.onnx"}
    assert all(len(record.sha256) == 64 for record in records.values())
    session = onnxruntime.InferenceSession(
        tmp_path / "bundle" / detector.file, providers=["CPUExecutionProvider"]
    )
    assert [(v.name, v.type, v.shape) for v in session.get_inputs()] == [
        ("image", "tensor(uint8)", ["batch", 1, 160, 160]),
        ("image_size", "tensor(int32)", ["batch", 2]),
    ]


def test_a_detector_that_keeps_the_contract_needs_no_mapping(tmp_path) -> None:
    write_files(tmp_path)
    text = RECIPE.replace("yolo.onnx", "own_detector.onnx")
    text = text.replace('mapping = { head = "dense" }\n', "")
    canvas = "\n[bundle.networks.detector.input.canvas.letterbox]\n"
    text += canvas + "height = 96\nwidth = 96\n"
    text = text.replace("nms_iou = 0.65", "nms_iou = 0\ncandidates = 36")
    bundle = exported(tmp_path, text)
    record = bundle.provenance.checkpoints[-1]
    assert record.style == "contract"
    assert bundle.networks["detector"].detection.candidates == 36


def planned(folder: Path, text: str) -> pb.DetectionRule:
    recipe = recipe_from_toml(write_recipe(folder, text))
    bundle = bundle_from_recipe(recipe, opened_recipe(recipe, SMALL))
    return bundle.networks["detector"].detection


@pytest.mark.parametrize("lacking", ["nms_iou", "score_floor"])
def test_suppression_of_a_raw_head_is_the_recipes_to_state(tmp_path, lacking) -> None:
    write_files(tmp_path)
    text = re.sub(f"{lacking} = .*", "", RECIPE)
    message = rf"^bundle\.networks\.detector\.detection: {lacking}: .*; state"
    with pytest.raises(RecipeError, match=message) as caught:
        planned(tmp_path, text)
    assert "\n" not in str(caught.value)
    rule = planned(tmp_path, RECIPE)
    assert (rule.nms_iou, rule.score_floor) == (0.65, 0.0)


STATED = "nms_iou = 0.65\nscore_floor = 0.0"


def test_rows_are_suppressed_already(tmp_path) -> None:
    write_files(tmp_path)
    builder = FileBuilder()
    value = builder.patches("images", 3, 6, 0.1)
    builder.call(builder.add("Transpose", value, perm=[0, 2, 1]), "output0")
    inputs = [("images", FLOAT, ["n", 3, 160, 160])]
    builder.save(tmp_path / "yolo.onnx", inputs, [("output0", FLOAT, ["n", 100, 6])])
    text = RECIPE.replace('"dense"', '"rows"').replace(STATED, "")
    assert planned(tmp_path, text).nms_iou == 0


def test_a_file_with_suppression_inside_is_not_suppressed_again(tmp_path) -> None:
    write_files(tmp_path)
    text = RECIPE.replace("yolo.onnx", "own_detector.onnx").replace(STATED, "")
    text = text.replace('mapping = { head = "dense" }\n', "")
    with pytest.raises(RecipeError, match="nms_iou and score_floor"):
        planned(tmp_path, text)
    path = tmp_path / "own_detector.onnx"
    model = onnx.load(path)
    # Whatever it is for: that a graph has the operator is what counts here.
    corners = onnx.helper.make_node("Unsqueeze", ["scores", "axis"], ["by_class"])
    axis = onnx.numpy_helper.from_array(np.array([1], np.int64), "axis")
    inputs = ["boxes", "by_class"]
    chosen = onnx.helper.make_node("NonMaxSuppression", inputs, ["chosen"])
    model.graph.node.extend([corners, chosen])
    model.graph.initializer.append(axis)
    onnx.save_model(model, path)
    assert planned(tmp_path, text).nms_iou == 0


def test_operators_that_not_every_back_end_runs_are_recorded(tmp_path) -> None:
    builder = FileBuilder()
    value = builder.add("HardSwish", "images")
    value = dense_values(builder, value, 3, 4 + CLASSES)
    builder.call(value, "output0")
    write_files(tmp_path)
    builder.save(
        tmp_path / "yolo.onnx",
        [("images", FLOAT, ["n", 3, 160, 160])],
        [("output0", FLOAT, ["n", 4 + CLASSES, 100])],
    )
    bundle = exported(tmp_path)
    assert bundle.networks["detector"].operators == ["HardSwish"]


def test_onnx_and_other_classifiers_do_not_mix(tmp_path) -> None:
    write_files(tmp_path)
    member = (
        '[[classifier]]\narchitecture = "small_densenet"\ncheckpoint = "untrained:1"\n'
    )
    text = RECIPE.replace("[detector]\n", f"{member}\n[detector]\n")
    with pytest.raises(RecipeError, match="all together"):
        exported(tmp_path, text)
    assert not (tmp_path / "bundle").exists()


WRONG = {
    "no mapping": ({}, "answers output0, not boxes, labels, scores; declare"),
    "unknown key": ({"head": "dense", "nms": 1}, "no key 'nms'; one of"),
    "no head": ({"boxes": "output0"}, "'head' is missing; one of dense"),
    "unknown head": ({"head": "anchors"}, "head: is one of dense, rows, separate"),
    "wrong type": ({"head": "dense", "boxes_axis": "2"}, "must be of type int"),
    "no meaning here": ({"head": "dense", "labels": "x"}, "has no meaning for head"),
    "unnamed": ({"head": "separate", "boxes": "output0"}, "names boxes and scores"),
    "no such output": ({"head": "dense", "boxes": "y"}, r"one of .*output0 \[1, 11"),
    "no such input": ({"head": "dense", "input": "y"}, r"no input 'y'; .*: images"),
    "no such size": ({"head": "dense", "image_size": "y"}, "has no input 'y'"),
    "wrong axis": ({"head": "dense", "boxes_axis": 1}, "check boxes_axis"),
    "wrong width": ({"head": "dense", "objectness": True}, "need 12 values per box"),
    "not rows": ({"head": "rows"}, r"rows are \(N,K,6\)"),
    "channels last": ({"head": "dense", "layout": "nhwc"}, "channels, not 1 or 3"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_mapping_is_one_line_with_the_way_out(
    tmp_path, frames, mistake
) -> None:
    mapping, message = WRONG[mistake]
    path = yolo_file(tmp_path / "yolo.onnx")
    with pytest.raises((GraphError, RecipeError), match=message) as caught:
        imported_detector(imported(path, **mapping), network(9), CLASSES, frames)
    assert "\n" not in str(caught.value)


def test_the_wrong_number_of_classes_is_told(tmp_path, frames) -> None:
    path = yolo_file(tmp_path / "yolo.onnx", classes=80)
    with pytest.raises(RecipeError, match=r"\[1, 84, .*7 classes.*need 11"):
        imported_detector(imported(path, head="dense"), network(9), CLASSES, frames)


def test_more_candidates_than_there_are_is_told_with_their_number(
    tmp_path, frames
) -> None:
    path = yolo_file(tmp_path / "yolo.onnx")
    count = int(np.prod(frames[0].image.shape)) // STRIDE**2
    with pytest.raises(RecipeError, match=f"candidates = {count} or less"):
        imported_detector(
            imported(path, head="dense"), network(count + 1), CLASSES, frames
        )


def test_a_file_of_one_size_asks_for_its_canvas(tmp_path, frames) -> None:
    path = yolo_file(tmp_path / "yolo.onnx", size=(160, 160))
    with pytest.raises(RecipeError, match=r"160 x 160 .*canvas\.letterbox"):
        imported_detector(imported(path, head="dense"), network(9), CLASSES, frames)


def test_a_stated_batch_of_one_is_set_free_where_the_graph_allows(
    tmp_path, frames
) -> None:
    path = yolo_file(tmp_path / "yolo.onnx", batch=1)
    made = imported_detector(imported(path, head="dense"), network(9), CLASSES, frames)
    assert made.runner.outputs(frames)["boxes"].shape == (2, 9, 4)


def test_a_batch_of_one_inside_the_graph_asks_for_a_dynamic_export(
    tmp_path, frames
) -> None:
    builder = FileBuilder()
    value = dense_values(builder, "x", 3, 11)
    value = builder.add("Reshape", value, builder.weight([1, 11, -1], np.int64))
    builder.call(value, "out")
    path = builder.save(
        tmp_path / "fixed.onnx",
        [("x", FLOAT, [1, 3, "h", "w"])],
        [("out", FLOAT, [1, 11, "a"])],
    )
    with pytest.raises(GraphError, match=r"fixed\.onnx: takes one .*dynamic batch"):
        imported_detector(imported(path, head="dense"), network(9), CLASSES, frames)


def test_scores_that_are_no_probabilities_are_told(tmp_path, frames) -> None:
    builder = FileBuilder()
    builder.call(builder.patches("x", 3, 11, 1 / STRIDE), "out")
    path = builder.save(
        tmp_path / "raw.onnx",
        [("x", FLOAT, ["n", 3, "h", "w"])],
        [("out", FLOAT, ["n", 11, "a"])],
    )
    with pytest.raises(RecipeError, match='score_kind = "logits"'):
        imported_detector(imported(path, head="dense"), network(9), CLASSES, frames)


def test_labels_that_name_no_class_are_told(tmp_path, frames) -> None:
    path = rows_file(tmp_path / "rows.onnx", 1)
    file = imported(path, head="rows")
    with pytest.raises(RecipeError, match=r"labels from \d to 7 for 7 classes"):
        imported_detector(file, network(30), CLASSES, frames)


def test_an_answer_that_is_not_finite_is_told(tmp_path, frames) -> None:
    builder = FileBuilder()
    value = dense_values(builder, "x", 3, 11)
    builder.call(builder.add("Div", value, builder.weight(0.0)), "out")
    path = builder.save(
        tmp_path / "inf.onnx",
        [("x", FLOAT, ["n", 3, "h", "w"])],
        [("out", FLOAT, ["n", 11, "a"])],
    )
    with pytest.raises(GraphError, match=r"not finite on a golden .*mean and std"):
        imported_detector(imported(path, head="dense"), network(9), CLASSES, frames)


def scaled_file(path: Path, values: onnx.TensorProto) -> Path:
    """Write a YOLO-like file whose answer is scaled by an initializer."""
    builder = FileBuilder()
    builder.weights.append(values)
    scale = builder.add("Cast", values.name, to=FLOAT)
    builder.call(builder.add("Mul", dense_values(builder, "x", 3, 11), scale), "out")
    sizes = ["n", 3, "h", "w"], ["n", 11, "a"]
    return builder.save(path, [("x", FLOAT, sizes[0])], [("out", FLOAT, sizes[1])])


def test_an_infinite_weight_behind_such_an_answer_is_named(tmp_path, frames) -> None:
    infinite = numpy_helper.from_array(np.float16([np.inf]), "head/scale")
    file = imported(scaled_file(tmp_path / "inf.onnx", infinite), head="dense")
    check_weights(file.read.model, "inf.onnx")
    with pytest.raises(GraphError) as caught:
        imported_detector(file, network(9), CLASSES, frames)
    assert "initializer 'head/scale' is not either; training diverged" in str(caught)


@pytest.mark.parametrize("kind", ["FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"])
def test_a_weight_that_is_no_number_is_named_before_anything_runs(
    tmp_path, kind
) -> None:
    values = helper.make_tensor(
        "scale", getattr(TensorProto, kind), [2, 1, 1], [1.0, np.nan]
    )
    model = model_from_file(scaled_file(tmp_path / "nan.onnx", values)).model
    with pytest.raises(GraphError, match=r"^nan\.onnx: NaN in initializer 'scale'; "):
        check_weights(model, "nan.onnx")


SETTINGS = {
    'checkpoint = "untrained:1"': "takes a file and a",
    'checkpoint = "yolo.onnx"\nstyle = "vindr"': "no seed, style, wrapper or options",
    'checkpoint = "yolo.onnx"\noptions = { a = 1 }': "no seed, style, wrapper",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_other_architectures_are_refused(tmp_path, setting) -> None:
    write_files(tmp_path)
    text = RECIPE.replace('checkpoint = "yolo.onnx"', setting)
    with pytest.raises(RecipeError, match=SETTINGS[setting]):
        exported(tmp_path, text)


def test_a_mapping_belongs_to_an_onnx_file(tmp_path) -> None:
    write_files(tmp_path)
    text = RECIPE.replace(
        'architecture = "onnx"\ncheckpoint = "yolo.onnx"',
        'architecture = "small_sparse_rcnn"\ncheckpoint = "untrained:1"',
    )
    with pytest.raises(RecipeError, match="has a mapping; remove it"):
        exported(tmp_path, text)
