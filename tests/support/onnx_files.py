"""Small ONNX files of the kinds that others export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from support.small_networks import write_recipe

FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
STRIDE = 16

IMPORTED_RECIPE = """
name = "imported"
version = "1"
preset = "vindr"
precisions = ["fp32"]

[[classifier]]
name = "first"
architecture = "onnx"
checkpoint = "first.onnx"
mapping = { meaning = "two_logits" }

[detector]
architecture = "onnx"
checkpoint = "yolo.onnx"
mapping = { head = "dense" }

[golden]
sizes = [[160, 128], [160, 128], [160, 128], [128, 160]]

[bundle.networks.classifier.input.canvas.fixed]
height = 64
width = 64

[bundle.networks.detector.input]
mean = [0, 0, 0]
std = [255, 255, 255]
fill = [0.447, 0.447, 0.447]

[bundle.networks.detector.detection]
nms_iou = 0.65
score_floor = 0.0
"""

QUICK_RECIPE = IMPORTED_RECIPE.replace(
    "[bundle.", "batch_sizes = [1, 2]\n\n[bundle.", 1
)


class FileBuilder:
    """Nodes of one file, written in the order of the calls."""

    def __init__(self, seed: int = 1) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, values: object, dtype: object = np.float32) -> str:
        name = f"w{len(self.weights)}"
        array = np.asarray(values, dtype=dtype)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, inputs, [name], name=f"n_{name}", **attributes)
        )
        return name

    def call(self, value: str, name: str) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name]))

    def patches(self, image: str, channels: int, width: int, scale: float) -> str:
        """Return (N, width, A): a linear function of each patch of STRIDE pixels."""
        kernel = self.random.normal(0, 1, (width, channels, STRIDE, STRIDE))
        weight = self.weight(kernel * scale)
        value = self.add("Conv", image, weight, strides=[STRIDE, STRIDE])
        return self.add("Reshape", value, self.weight([0, width, -1], np.int64))

    def save(
        self,
        path: Path,
        inputs: Sequence[tuple[str, int, Sequence[object]]],
        outputs: Sequence[tuple[str, int, Sequence[object]]],
        opset: int = 17,
    ) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info(*value) for value in inputs],
            [helper.make_tensor_value_info(*value) for value in outputs],
            self.weights,
        )
        imports = [helper.make_opsetid("", opset)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        onnx.save_model(model, path)
        return path


def dense_values(
    builder: FileBuilder, image: str, channels: int, width: int, scale: float = 0.2
) -> str:
    """Return (N, width, A): centre and size in 0..160, then numbers in 0..1."""
    raw = builder.patches(image, channels, width, scale / STRIDE)
    part = builder.add("Sigmoid", raw)
    units = [[160.0]] * 4 + [[1.0]] * (width - 4)
    return builder.add("Mul", part, builder.weight([units]))


def yolo_file(
    path: Path,
    *,
    classes: int = 7,
    batch: object = "n",
    size: Sequence[object] = ("h", "w"),
    boxes_first: bool = False,
    opset: int = 17,
) -> Path:
    """Write a file like Ultralytics': (N,3,H,W) in 0..1 to (N,4+C,A)."""
    builder = FileBuilder()
    value = dense_values(builder, "images", 3, 4 + classes)
    height, width = size
    count: object = "a"
    if isinstance(height, int) and isinstance(width, int):
        count = height * width // STRIDE**2
    axes = [batch, 4 + classes, count]
    if boxes_first:
        value = builder.add("Transpose", value, perm=[0, 2, 1])
        axes = [batch, count, 4 + classes]
    builder.call(value, "output0")
    inputs = [("images", FLOAT, [batch, 3, *size])]
    return builder.save(path, inputs, [("output0", FLOAT, axes)], opset)


def classifier_file(
    path: Path, *, outputs: int = 2, softmax: bool = False, seed: int = 1
) -> Path:
    """Write a file from (N,3,H,W) to (N, outputs) logits or probabilities."""
    builder = FileBuilder(seed)
    value = builder.patches("input", 3, outputs, 0.5 / STRIDE)
    value = builder.add("ReduceMean", value, axes=[2], keepdims=0)
    if softmax and outputs == 1:
        value = builder.add("Sigmoid", value)
    elif softmax:
        value = builder.add("Softmax", value, axis=1)
    builder.call(value, "answer")
    inputs = [("input", FLOAT, ["n", 3, "h", "w"])]
    return builder.save(path, inputs, [("answer", FLOAT, ["n", outputs])])


def contract_files(folder: Path, *, classes: int = 7) -> tuple[Path, Path]:
    """Write a classifier and a detector that keep the contract themselves."""
    builder = FileBuilder()
    grey = builder.add("Cast", "image", to=FLOAT)
    value = builder.patches(grey, 1, 1, 0.01 / STRIDE)
    builder.call(builder.add("ReduceMean", value, axes=[2], keepdims=0), "logits")
    inputs = [("image", UINT8, ["n", 1, "h", "w"])]
    outputs = [("logits", FLOAT, ["n", 1])]
    classifier = builder.save(folder / "own_classifier.onnx", inputs, outputs)
    builder = FileBuilder()
    grey = builder.add("Cast", "image", to=FLOAT)
    value = dense_values(builder, grey, 1, 5)
    value = builder.add("Transpose", value, perm=[0, 2, 1])
    best = builder.add("Split", value, builder.weight([4, 1], np.int64), axis=2)
    builder.nodes[-1].output.append("score")
    builder.call(best, "boxes")
    scores = builder.add("Squeeze", "score", builder.weight([2], np.int64))
    builder.call(scores, "scores")
    shift = builder.add("Mul", scores, builder.weight(classes - 0.01))
    builder.call(builder.add("Cast", shift, to=INT64), "labels")
    sizes = builder.add("Cast", "image_size", to=FLOAT)
    builder.call(sizes, "unused")
    inputs.append(("image_size", TensorProto.INT32, ["n", 2]))
    outputs = [
        ("boxes", FLOAT, ["n", "a", 4]),
        ("scores", FLOAT, ["n", "a"]),
        ("labels", INT64, ["n", "a"]),
    ]
    return classifier, builder.save(folder / "own_detector.onnx", inputs, outputs)


def imported_files(folder: Path, recipe: str) -> Path:
    """Write the two files that `IMPORTED_RECIPE` names, and a recipe; returns it."""
    classifier_file(folder / "first.onnx")
    yolo_file(folder / "yolo.onnx", size=(160, 160))
    return write_recipe(folder, recipe)
