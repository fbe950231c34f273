"""The comparison itself: it forgives ties and nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.small_networks import batch, detector_canvas, fixed_canvas, golden_frames
from torch import Tensor, nn

from spinert.export.errors import GraphError, ParityError
from spinert.export.half.tolerances import half_parity
from spinert.export.onnx_from_torch import GraphSpec, onnx_from_torch
from spinert.export.parity import Golden, measured_parity, runs_of
from spinert.export.preprocess import NetworkFrame
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import TOLERANCES, AgreementRule

RULE = AgreementRule(tolerances=TOLERANCES["fp32"], exact=True)
SPEC = GraphSpec(inputs=("image",), outputs=("logits",), dynamic=({0: "batch"},))


class Mean(nn.Module):
    """A classifier whose answer is the mean grey value."""

    def forward(self, image: Tensor) -> Tensor:
        return image.to(torch.float32).mean(dim=(2, 3)) / 10


class Mixing(Mean):
    """The same with a leak between the images of a batch."""

    def forward(self, image: Tensor) -> Tensor:
        own = super().forward(image)
        return own + 0.01 * (own.mean() - own)


def exported(module: nn.Module, folder: Path, frames: list[NetworkFrame]) -> Path:
    image, _ = batch(frames[:2])
    model = onnx_from_torch(module, (image,), SPEC)
    path = folder / "network.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def golden(frames: list[NetworkFrame], answers, *batch_sizes: int) -> Golden:
    return Golden(frames=frames, references=answers, batch_sizes=batch_sizes)


def references(module: nn.Module, frames: list[NetworkFrame]):
    outputs = [module(batch([frame])[0])[0].numpy() for frame in frames]
    return [{"logits": output} for output in outputs]


def test_a_true_graph_passes_in_every_slot(tmp_path) -> None:
    frames = golden_frames(fixed_canvas())
    path = exported(Mean(), tmp_path, frames)
    answers = references(Mean(), frames)
    measured = measured_parity(path, golden(frames, answers, 1, 2, 5), RULE)
    gap = measured.differences["logits"]
    assert gap.mean_abs <= gap.max_abs <= TOLERANCES["fp32"]["logits"]
    # Each alone, two together, and three frames in five slots, twice.
    assert gap.count == len(frames) + 2 + 2 * 5


def test_a_network_that_mixes_its_batch_is_caught(tmp_path) -> None:
    frames = golden_frames(fixed_canvas())
    path = exported(Mixing(), tmp_path, frames)
    alone = references(Mixing(), frames)
    measured_parity(path, golden(frames, alone, 1), RULE)
    with pytest.raises(ParityError, match="batch 2, slot 0: logits differ"):
        measured_parity(path, golden(frames, alone, 1, 2), RULE)


@pytest.mark.parametrize("poison", [1.0, float("nan")])
def test_a_wrong_or_undefined_answer_is_caught(tmp_path, poison) -> None:
    frames = golden_frames(fixed_canvas())
    path = exported(Mean(), tmp_path, frames)
    wrong = references(Mean(), frames)
    right = float(wrong[-1]["logits"][0])
    wrong[-1]["logits"] = wrong[-1]["logits"] + poison
    with pytest.raises(ParityError) as caught:
        measured_parity(path, golden(frames, wrong, 1), RULE)
    told = str(caught.value)
    assert told.startswith("network.onnx: golden frame-4, batch 1, slot 0: logits diff")
    assert f"most at [0]: {right:.6g} instead of {right + poison:.6g}" in told
    assert 'set [golden] images = "phantoms"' in told
    assert "\n" not in told


def threshold_bundle(probability: float = 0.5) -> pb.Bundle:
    decision = pb.DecisionRule(threshold=probability, comparison=pb.GREATER_OR_EQUAL)
    combination = pb.Combination(rule=pb.COMBINATION_PROBABILITY_MEAN)
    return pb.Bundle(decision=decision, combination=combination)


@pytest.mark.parametrize(
    ("shift", "tolerance"), [(0.04, 0.1), (0.06, 0.2), (0.39, 0.8)]
)
def test_an_fp16_graph_gets_the_smallest_tolerance_with_headroom(
    tmp_path, shift, tolerance
) -> None:
    frames = golden_frames(fixed_canvas())
    model = exported(Mean(), tmp_path, frames)
    answers = references(Mean(), frames)
    answers[1]["logits"] = answers[1]["logits"] + np.float32(shift)
    asked = golden(frames, answers, 1, 2)
    measured = half_parity(model, asked, threshold_bundle(), "classifier")
    assert measured.tolerances["logits"] == pytest.approx(tolerance)
    parity = pb.Parity()
    measured.record(parity)
    assert parity.outputs[0].measured_max_abs == pytest.approx(shift, abs=1e-3)
    assert parity.outputs[0].measured_mean_abs == pytest.approx(shift / 3, abs=1e-3)


def test_an_fp16_graph_that_is_too_far_off_is_refused_with_a_way_out(tmp_path) -> None:
    frames = golden_frames(fixed_canvas())
    model = exported(Mean(), tmp_path, frames)
    answers = references(Mean(), frames)
    answers[1]["logits"] = answers[1]["logits"] + 1
    with pytest.raises(ParityError, match=r'fp16.*precisions = \["fp32"\]'):
        half_parity(model, golden(frames, answers, 1), threshold_bundle(), "classifier")


def test_a_frame_that_flips_in_every_slot_is_one_flip(tmp_path) -> None:
    frames = golden_frames(fixed_canvas())
    model = exported(Mean(), tmp_path, frames)
    answers = references(Mean(), frames)
    logit = float(answers[2]["logits"][0])
    answers[2]["logits"] = answers[2]["logits"] - np.float32(0.02)
    bundle = threshold_bundle(1 / (1 + np.exp(0.01 - logit)))
    asked = golden(frames, answers, 1, 2)
    assert half_parity(model, asked, bundle, "classifier").decision_flips == 1


class Recorded:
    """Stands in for a session; what it was fed is its answer."""

    def __init__(self) -> None:
        self.fed: list[np.ndarray] = []

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="image")]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="same")]

    def run(self, _outputs: list[str], feed: dict[str, np.ndarray]):
        self.fed.append(feed["image"])
        return [feed["image"]]


def test_a_run_holds_the_answer_of_the_slot_its_frame_stood_in() -> None:
    frames = golden_frames(detector_canvas(), count=3)
    frames.append(golden_frames(fixed_canvas(), count=1)[0])
    session = Recorded()
    runs = list(runs_of(session, golden(frames, [], 1, 2, 5)))
    for run in runs:
        assert np.array_equal(run.answer["same"], frames[run.frame].image)
    shapes = {frame.image.shape for frame in frames}
    met = {(frames[run.frame].image.shape, run.where) for run in runs}
    fives = {(shape, f"batch 5, slot {slot}") for shape in shapes for slot in range(5)}
    assert fives <= met
    # Every frame alone; two at once; three in five slots; one in five slots.
    assert [len(fed) for fed in session.fed] == [1, 1, 1, 1, 2, 5, 5, 5, 5]


def test_a_mate_is_filled_like_its_frame_and_is_another_image() -> None:
    frame = golden_frames(detector_canvas(), count=1)[0]
    session = Recorded()
    list(runs_of(session, golden([frame], [], 3)))
    for fed in session.fed:
        assert len({mate.tobytes() for mate in fed}) >= 2
        for mate in fed:
            outside = np.ones_like(mate, dtype=bool)
            outside[:, : frame.height, : frame.width] = False
            assert np.array_equal(mate[outside], frame.image[outside])


class Finding(nn.Module):
    """Uses an operator whose output size depends on the data."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.nonzero(image).to(torch.float32)


def test_an_operator_that_needs_a_plugin_is_refused(tmp_path) -> None:
    frames = golden_frames(fixed_canvas())
    with pytest.raises(GraphError, match="NonZero"):
        exported(Finding(), tmp_path, frames)


class Fixed(nn.Module):
    """A detector that finds the same ten boxes everywhere."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        frames = image.shape[0]
        corner = torch.arange(10)[None, :, None] * 100.0
        boxes = (corner + torch.tensor([0.0, 0.0, 40.0, 60.0])).expand(frames, -1, -1)
        scores = (0.3 + torch.arange(10)[None] / 16).expand(frames, -1)
        labels = torch.arange(10)[None].expand(frames, -1)
        return boxes + 0.0 * image.sum(dim=(2, 3))[:, :, None], scores, labels


class Neighbours(Fixed):
    """The same with two boxes of one label on one object, one just relevant."""

    relevant = 0

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes, scores, labels = super().forward(image)
        beside = boxes[:, :1] + torch.tensor([12.0, 0.0, 12.0, 0.0])
        pair = torch.full((1, 2), 0.02)
        pair[0, self.relevant] = 0.09
        return (
            torch.cat([boxes[:, :1], beside, boxes[:, 2:]], dim=1),
            torch.cat([pair.expand(image.shape[0], -1), scores[:, 2:]], dim=1),
            torch.cat([labels[:, :1], labels[:, :1], labels[:, 2:]], dim=1),
        )


def fixed_detector(
    folder: Path, frames: list[NetworkFrame], module: nn.Module | None = None
) -> Path:
    outputs = ("boxes", "scores", "labels")
    spec = GraphSpec(inputs=("image",), outputs=outputs, dynamic=({0: "batch"},))
    model = onnx_from_torch(module or Fixed(), (batch(frames[:2])[0],), spec)
    path = folder / "detector.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def detections(frames: list[NetworkFrame], moved_px: float):
    """Return references in which the best box lies elsewhere."""
    answers = []
    for frame in frames:
        boxes, scores, labels = (v[0].numpy() for v in Fixed()(batch([frame])[0]))
        boxes[9] += moved_px
        answers.append({"boxes": boxes, "scores": scores, "labels": labels})
    return answers


def detector_bundle() -> pb.Bundle:
    bundle = pb.Bundle()
    bundle.networks["detector"].output = pb.OUTPUT_CANDIDATES
    return bundle


def test_a_detector_that_loses_a_box_is_refused_in_fp16(tmp_path) -> None:
    frames = golden_frames(fixed_canvas())
    asked = golden(frames, detections(frames, 200), 1)
    with pytest.raises(ParityError, match="detector in fp16: labels differ by 2"):
        half_parity(
            fixed_detector(tmp_path, frames), asked, detector_bundle(), "detector"
        )


def test_wider_scores_are_taken_where_they_save_much_wider_boxes(tmp_path) -> None:
    frames = golden_frames(fixed_canvas())
    other = Neighbours()
    other.relevant = 1
    names = ("boxes", "scores", "labels")
    answers = [
        {
            name: v[0].numpy()
            for name, v in zip(names, other(batch([f])[0]), strict=True)
        }
        for f in frames
    ]
    graph = fixed_detector(tmp_path, frames, Neighbours())
    asked = golden(frames, answers, 1)
    measured = half_parity(graph, asked, detector_bundle(), "detector")
    assert (measured.tolerances["scores"], measured.tolerances["boxes"]) == (0.04, 2.0)
    assert measured.differences["boxes"].max_abs == 0


@pytest.mark.parametrize(
    ("moved_px", "lost", "boxes_px"), [(6, 0.0, 4.0), (200, 2.0, 8.0)]
)
def test_where_proposals_switch_what_is_lost_is_stated(
    tmp_path, moved_px, lost, boxes_px
) -> None:
    frames = golden_frames(fixed_canvas())
    bundle = detector_bundle()
    bundle.networks["detector"].split.nms_iou = 0.7
    asked = golden(frames, detections(frames, moved_px), 1)
    measured = half_parity(fixed_detector(tmp_path, frames), asked, bundle, "detector")
    assert measured.tolerances["labels"] == lost
    assert measured.tolerances["boxes"] == boxes_px
    assert measured.tolerances["switched"] == 0.2
