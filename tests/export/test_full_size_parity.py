"""Every network at its official size: PyTorch, ONNX Runtime, and half precision.

For `make parity` alone: a detector takes minutes and up to about ten gigabytes.
Weights are untrained and calibrated, so that the arithmetic is exercised; the input
is a synthetic lumbar radiograph of 2455 x 1606 pixels, which the official 800/1333
makes a canvas of 1248 x 800. FP16 is emulated: every half tensor is rounded, the
arithmetic is float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from spinert.export.architecture import CLASSIFIER, DETECTOR
from spinert.export.architectures import ARCHITECTURES
from spinert.export.checkpoints.style import Option
from spinert.export.errors import ParityError
from spinert.export.golden import golden_images
from spinert.export.graphs import Graph, classifier_graph, detector_graph
from spinert.export.half.form import write_half_form
from spinert.export.members import opened_recipe
from spinert.export.parity import Golden, golden_feed
from spinert.export.plan import bundle_from_recipe
from spinert.export.preprocess import NetworkFrame, network_frame
from spinert.export.recipe import recipe_from_toml
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import FP16, FP32, Answer, agreement, rule_from_bundle

pytestmark = [pytest.mark.parity, pytest.mark.slow]

BATCH_SIZES = range(1, 9)
OTHER_BATCH_SIZES = (1, 3)
LUMBAR, LATERAL, SQUARE = (2455, 1606), (2980, 1310), (1800, 1800)
# The other network of the recipe is not built.
RECIPE = """
name = "full-size"
version = "1"
preset = "vindr"

[[classifier]]
{classifier}

[detector]
{detector}

[golden]
sizes = [{sizes}]
"""
OTHER = {CLASSIFIER: "densenet121", DETECTOR: "retinanet_r50_fpn"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network; layouts that differ in the spelling of keys are one."""

    architecture: str
    style: str
    options: Mapping[str, Option] = field(default_factory=dict)

    def __str__(self) -> str:
        chosen = [f"{key}={value}" for key, value in self.options.items()]
        return "-".join((self.architecture, self.style, *chosen))

    @property
    def role(self) -> str:
        return ARCHITECTURES[self.architecture].role

    def recipe(self) -> str:
        members = {
            role: f'architecture = "{name}"\ncheckpoint = "untrained:1"'
            for role, name in OTHER.items()
        }
        lines = [f'architecture = "{self.architecture}"', f'style = "{self.style}"']
        lines += ['checkpoint = "untrained:1"']
        lines += [f"options.{name} = {value}" for name, value in self.options.items()]
        members[self.role] = "\n".join(lines)
        sizes = [str(list(size)) for size in (LUMBAR, LUMBAR, LATERAL, SQUARE)]
        return RECIPE.format(**members, sizes=", ".join(sizes))


def case(architecture: str, style: str, **options: Option) -> Case:
    return Case(architecture=architecture, style=style, options=options)


CASES = (
    *(
        case(f"densenet{depth}", style)
        for depth, style in product((121, 169, 201), ("vindr", "torchvision"))
    ),
    case("faster_rcnn_r50_fpn", "detectron2"),
    case("faster_rcnn_r50_fpn", "detectron2", roi_sampling=2),
    case("faster_rcnn_r50_fpn", "torchvision"),
    case("faster_rcnn_r50_fpn", "torchvision_v2"),
    case("retinanet_r50_fpn", "detectron2"),
    case("retinanet_r50_fpn", "torchvision"),
    case("retinanet_r50_fpn", "torchvision_v2"),
    case("sparse_rcnn_r50_fpn", "sparsercnn"),
    case("sparse_rcnn_r50_fpn", "sparsercnn", proposals=300),
    case("sparse_rcnn_r101_fpn", "sparsercnn"),
    *(
        case(f"efficientdet_d{level}", style)
        for level, style in product((0, 4), ("effdet_tf", "effdet"))
    ),
)


REFUSED_IN_HALF = {
    "retinanet_r50_fpn-detectron2",
    "sparse_rcnn_r50_fpn-sparsercnn",
}
"""Whose untrained weights amplify rounding beyond the widest tolerance at this size, by
an eighth: a user is told to export FP32 alone."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A network in PyTorch and as a file, and frames of every canvas."""

    role: str
    folder: Path
    bundle: pb.Bundle
    graph: Graph
    frames: Sequence[NetworkFrame]
    """Two lumbar ones, then one of each other size."""

    @property
    def file(self) -> Path:
        return self.folder / self.bundle.networks[self.role].file


def flips(frame: NetworkFrame) -> Iterator[NetworkFrame]:
    """Yield four images of one valid size."""
    valid = frame.image[:, : frame.height, : frame.width]
    for down, right in product((1, -1), repeat=2):
        image = frame.image.copy()
        image[:, : frame.height, : frame.width] = valid[:, ::down, ::right]
        yield replace(frame, image=image)


def lumbar(frames: Sequence[NetworkFrame]) -> list[NetworkFrame]:
    """Return eight frames of one canvas."""
    return [frame for two in frames[:2] for frame in flips(two)]


def exported(own: Case, folder: Path) -> Exported:
    (folder / "recipe.toml").write_text(own.recipe())
    recipe = recipe_from_toml(folder / "recipe.toml")
    opened = opened_recipe(recipe, ARCHITECTURES)
    bundle = bundle_from_recipe(recipe, opened)
    network = bundle.networks[own.role]
    frames = [
        network_frame(image.grey(bundle.grey), network.input)
        for image in golden_images(recipe.golden)
    ]
    if own.role == CLASSIFIER:
        # What calibration has not seen gets logits far beyond those of a patient.
        graph = classifier_graph(opened, bundle, lumbar(frames))
    else:
        # It holds all the frames of a canvas at once: two are enough.
        graph = detector_graph(opened, bundle, frames[:2])
    if graph.cut is not None:
        # What tells the rules of agreement that proposals may switch.
        network.split.nms_iou = graph.cut.nms_iou
    path = folder / network.file
    path.parent.mkdir()
    path.write_bytes(graph.onnx(frames[:2]).SerializeToString())
    return Exported(
        role=own.role, folder=folder, bundle=bundle, graph=graph, frames=frames
    )


def assert_every_slot_agrees(
    made: Exported,
    session: onnxruntime.InferenceSession,
    given: Sequence[tuple[NetworkFrame, Answer]],
    sizes: Sequence[int],
) -> None:
    """Compare every slot of a batch of each size, other frames in it each time."""
    rule = rule_from_bundle(made.bundle, made.role, FP32)
    inputs = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    for size in sizes:
        chosen = [given[(size + slot) % len(given)] for slot in range(size)]
        feed = golden_feed([frame for frame, _ in chosen], inputs)
        results = session.run(outputs, feed)
        for slot, (_, expected) in enumerate(chosen):
            values = (result[slot] for result in results)
            actual = dict(zip(outputs, values, strict=True))
            found = agreement(expected, actual, rule)
            for name, gap in found.differences.items():
                where = f"batch {size}, slot {slot}, {name}: {gap}"
                assert gap.max_abs <= rule.tolerances[name], where
            status = expected.get("status"), actual.get("status")
            np.testing.assert_equal(status[1], status[0])


@pytest.mark.parametrize("own", CASES, ids=str)
def test_the_graphs_answer_as_pytorch_at_full_size(
    own, tmp_path, record_property
) -> None:
    made = exported(own, tmp_path)
    session = onnxruntime.InferenceSession(
        made.file, providers=["CPUExecutionProvider"]
    )
    given = [(frame, made.graph.answer(frame)) for frame in lumbar(made.frames)]
    assert_every_slot_agrees(made, session, given, BATCH_SIZES)
    for frame in made.frames[2:]:
        others = [(each, made.graph.answer(each)) for each in flips(frame)]
        assert_every_slot_agrees(made, session, others, OTHER_BATCH_SIZES)
    del session
    # One of each image; the others are these, mirrored.
    golden = Golden(
        frames=[given[0][0], given[4][0]],
        references=[given[0][1], given[4][1]],
        batch_sizes=(1,),
    )
    if str(own) in REFUSED_IN_HALF:
        with pytest.raises(ParityError, match=r"scores differ by 0\.09\d*") as refusal:
            write_half_form(tmp_path, made.bundle, own.role, golden, lambda *_: None)
        record_property("refused", str(refusal.value))
        return
    write_half_form(tmp_path, made.bundle, own.role, golden, lambda *_: None)
    (form,) = made.bundle.networks[own.role].forms
    assert form.precision == FP16
    for output in form.parity.outputs:
        record_property(output.output, output.measured_max_abs)
        # Half cannot be exact: a zero would mean that nothing was rounded.
        assert output.measured_max_abs <= output.tolerance_abs
    assert max(output.measured_max_abs for output in form.parity.outputs) > 1e-4


def test_every_family_and_every_network_of_a_style_is_listed() -> None:
    listed = {(own.architecture, own.style) for own in CASES}
    for name, architecture in ARCHITECTURES.items():
        if name.startswith("efficientdet_") and name[-1] not in "04":
            continue  # the other sizes are the same code with other numbers
        own = {style for of, style in listed if of == name}
        told = {
            str((style.options, style.network)): style.name in own
            for style in sorted(architecture.styles, key=lambda s: s.name in own)
        }
        assert all(told.values()), (name, told)
