"""The comparison itself: it forgives ties and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.small_networks import batch, detector_canvas, fixed_canvas, golden_frames
from torch import Tensor, nn

from spinert.export.errors import GraphError, ParityError
from spinert.export.onnx_from_torch import GraphSpec, onnx_from_torch
from spinert.export.parity import (
    TOLERANCES,
    _batches,
    candidate_differences,
    measured_parity,
)
from spinert.export.preprocess import NetworkFrame

SPEC = GraphSpec(inputs=("image",), outputs=("logits",), dynamic=({0: "batch"},))


def answer(scores, labels, boxes=None):
    scores = np.array(scores, dtype=np.float32)
    rows = np.arange(len(scores), dtype=np.float32) * 10
    boxes = np.stack([rows] * 4, axis=1) if boxes is None else boxes
    return {"boxes": boxes, "scores": scores, "labels": np.array(labels)}


BASE = answer([0.9, 0.5, 0.5, 0.2], [1, 2, 3, 0])


def test_equal_answers_do_not_differ() -> None:
    gaps = candidate_differences(BASE, BASE)
    assert gaps == {"boxes": 0.0, "scores": 0.0, "labels": 0.0}


def test_the_order_of_equal_scores_does_not_count() -> None:
    swap = [0, 2, 1, 3]
    other = {name: value[swap] for name, value in BASE.items()}
    gaps = candidate_differences(BASE, other)
    assert gaps == {"boxes": 0.0, "scores": 0.0, "labels": 0.0}


def test_the_last_place_may_go_to_either_of_two_equals() -> None:
    boxes = BASE["boxes"].copy()
    boxes[3] += 300
    other = answer([0.9, 0.5, 0.5, 0.2], [1, 2, 3, 5], boxes)
    assert candidate_differences(BASE, other)["labels"] == 0


def test_a_moved_box_counts() -> None:
    boxes = BASE["boxes"].copy()
    boxes[1, 2] += 0.5
    gaps = candidate_differences(BASE, answer(BASE["scores"], BASE["labels"], boxes))
    assert gaps["boxes"] == 0.5


def test_a_changed_label_counts() -> None:
    gaps = candidate_differences(BASE, answer(BASE["scores"], [1, 2, 4, 0]))
    assert gaps["labels"] == 2


def test_a_changed_score_counts() -> None:
    gaps = candidate_differences(BASE, answer([0.9, 0.51, 0.5, 0.2], BASE["labels"]))
    assert gaps["scores"] == pytest.approx(0.01)
    assert gaps["labels"] > 0


def test_a_box_twice_is_not_two_boxes() -> None:
    boxes = BASE["boxes"].copy()
    boxes[2] = boxes[1]
    other = answer(BASE["scores"], [1, 2, 2, 0], boxes)
    assert candidate_differences(BASE, other)["labels"] > 0


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


def references(module: nn.Module, frames: list[NetworkFrame]):
    outputs = [module(batch([frame])[0])[0].numpy() for frame in frames]
    return [{"logits": output} for output in outputs]


def test_a_true_graph_passes_in_every_slot(tmp_path) -> None:
    frames = golden_frames(fixed_canvas())
    path = exported(Mean(), tmp_path, frames)
    worst = measured_parity(path, frames, references(Mean(), frames), (1, 2, 5))
    assert worst["logits"] <= TOLERANCES["logits"]


def test_a_network_that_mixes_its_batch_is_caught(tmp_path) -> None:
    frames = golden_frames(fixed_canvas())
    path = exported(Mixing(), tmp_path, frames)
    alone = references(Mixing(), frames)
    measured_parity(path, frames, alone, (1,))
    with pytest.raises(ParityError, match="batch 2, slot 0: logits differ"):
        measured_parity(path, frames, alone, (1, 2))


@pytest.mark.parametrize("poison", [1.0, float("nan")])
def test_a_wrong_or_undefined_answer_is_caught(tmp_path, poison) -> None:
    frames = golden_frames(fixed_canvas())
    path = exported(Mean(), tmp_path, frames)
    wrong = references(Mean(), frames)
    wrong[-1]["logits"] = wrong[-1]["logits"] + poison
    with pytest.raises(ParityError):
        measured_parity(path, frames, wrong, (1,))


def test_every_frame_meets_every_slot_with_mates_of_its_size() -> None:
    frames = golden_frames(detector_canvas(), count=3)
    frames.append(golden_frames(fixed_canvas(), count=1)[0])
    for size in (1, 2, 5):
        met = set()
        for made in _batches(frames, size):
            assert len(made.frames) == len(made.indices) == size
            assert len({frame.image.shape for frame in made.frames}) == 1
            for slot, index in enumerate(made.indices):
                if index is not None:
                    assert made.frames[slot] is frames[index]
                    met.add((index, slot))
        assert met == {(index, slot) for index in range(4) for slot in range(size)}


class Finding(nn.Module):
    """Uses an operator whose output size depends on the data."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.nonzero(image).to(torch.float32)


def test_an_operator_that_needs_a_plugin_is_refused(tmp_path) -> None:
    frames = golden_frames(fixed_canvas())
    with pytest.raises(GraphError, match="NonZero"):
        exported(Finding(), tmp_path, frames)
