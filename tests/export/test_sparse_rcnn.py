"""Sparse R-CNN against an oracle written from its description."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.agreements import candidate_gaps
from support.small_networks import (
    SPARSE_RCNN,
    batch,
    calibration,
    detector_canvas,
    golden_frames,
    grey_input,
    small_densenet,
    small_sparse_rcnn,
)
from support.sparse_rcnn_oracle import detect, level_of, roi_align_of_level
from torch import Tensor

from spinert.export.networks.detector import DetectorGraph
from spinert.export.networks.roi_align import Pyramid, RoiAlignSpec, roi_align
from spinert.export.networks.sparse_rcnn import SparseRCNN, SparseRCNNSpec
from spinert.export.untrained.sparse_rcnn import calibrate_sparse_rcnn

K = 40


@pytest.fixture(scope="module")
def frames():
    return golden_frames(detector_canvas())


@pytest.fixture(scope="module")
def network(frames) -> SparseRCNN:
    return small_sparse_rcnn(frames)


def candidates(network: SparseRCNN, image: Tensor, size: Tensor, **changes):
    graph = DetectorGraph(grey_input(**changes), network, K).eval()
    with torch.no_grad():
        boxes, scores, labels = graph(image, size)
    return [
        {"boxes": b.numpy(), "scores": s.numpy(), "labels": n.numpy()}
        for b, s, n in zip(boxes, scores, labels, strict=True)
    ]


def test_the_detector_finds_what_the_oracle_finds(network, frames) -> None:
    image, size = batch(frames)
    found = candidates(network, image, size)
    x = grey_input()(image, size)
    for index, frame in enumerate(frames):
        boxes, scores = detect(
            network.state_dict(),
            x[index : index + 1],
            frame.height,
            frame.width,
            heads=SPARSE_RCNN.heads,
        )
        best = scores.flatten().topk(K)
        expected = {
            "boxes": boxes[best.indices // 7].numpy(),
            "scores": best.values.numpy(),
            "labels": (best.indices % 7).numpy(),
        }
        gaps = candidate_gaps(expected, found[index])
        assert gaps["boxes"] <= 1e-2
        assert gaps["scores"] <= 1e-4
        assert gaps["labels"] == 0


def test_calibrated_scores_lie_on_both_sides_and_boxes_differ(network, frames) -> None:
    found = candidates(network, *batch(frames))
    for answer in found:
        assert answer["scores"].min() < 0.5
        edges = answer["boxes"][:, 2:] - answer["boxes"][:, :2]
        assert edges.min() > 1
        assert edges.max() > 4 * edges.min()
    assert max(answer["scores"].max() for answer in found) > 0.5
    assert abs(found[0]["scores"] - found[1]["scores"]).max() > 1e-2


def test_the_official_checkpoint_has_as_many_entries() -> None:
    with torch.device("meta"):
        state = SparseRCNN(SparseRCNNSpec()).state_dict()
    names = [key for key in state if not key.endswith("num_batches_tracked")]
    assert len(names) == 523
    assert round(sum(state[name].numel() for name in names) / 1e5) == 1062
    assert state["head.head_series.5.inst_interact.dynamic_layer.weight"].shape == (
        32768,
        256,
    )


def test_only_a_sparse_rcnn_is_calibrated_as_one(frames) -> None:
    other = small_densenet(golden_frames(detector_canvas()), final_relu=True)
    with pytest.raises(TypeError, match="DenseNet"):
        calibrate_sparse_rcnn(other, calibration(frames))


def rebuilt(network: SparseRCNN, spec: SparseRCNNSpec) -> SparseRCNN:
    other = SparseRCNN(spec)
    other.load_state_dict(network.state_dict())
    return other.eval()


def backbone(**changes) -> SparseRCNNSpec:
    return replace(SPARSE_RCNN, backbone=replace(SPARSE_RCNN.backbone, **changes))


def pooling(**changes) -> SparseRCNNSpec:
    return replace(SPARSE_RCNN, roi=replace(SPARSE_RCNN.roi, **changes))


MISTAKES = {
    "stride in the 1x1 convolution": (backbone(stride_in_1x1=True), {}),
    "eps 0": (backbone(eps=0.0), {}),
    "RoIAlign not aligned": (pooling(aligned=False), {}),
    "one sample per bin": (pooling(sampling=1), {}),
    "mean in RGB order": (SPARSE_RCNN, {"mean": (123.675, 116.28, 103.53)}),
    "padding filled with black": (SPARSE_RCNN, {"fill": (-103.53, -116.28, -123.675)}),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_moves_the_candidates_far_beyond_the_tolerance(
    mistake, network, frames
) -> None:
    spec, changes = MISTAKES[mistake]
    image, size = batch(frames)
    right = candidates(network, image, size)
    wrong = candidates(rebuilt(network, spec), image, size, **changes)
    gaps = [candidate_gaps(r, w) for r, w in zip(right, wrong, strict=True)]
    assert max(gap["scores"] for gap in gaps) > 1e-3


def test_the_padded_size_in_place_of_the_valid_one_is_noticed(network, frames) -> None:
    image, size = batch(frames)
    padded = torch.tensor([image.shape[2:]] * len(frames), dtype=torch.int32)
    assert not torch.equal(size, padded)
    right = candidates(network, image, size)
    wrong = candidates(network, image, padded)
    assert candidate_gaps(right[0], wrong[0])["labels"] > 0


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling", [1, 2, 3])
def test_pooling_equals_roi_align_of_onnx_runtime(aligned: bool, sampling: int) -> None:
    generator = torch.Generator().manual_seed(7)
    levels = [
        torch.randn((2, 3, 128 >> k, 96 >> k), generator=generator) for k in range(4)
    ]
    centres = torch.rand((2, 60, 2), generator=generator) * 700 - 100
    edges = torch.exp(torch.rand((2, 60, 2), generator=generator) * 7)
    boxes = torch.cat((centres - edges / 2, centres + edges / 2), dim=2)
    boxes[0, 0] = torch.tensor([0.0, 0.0, 384.0, 512.0])
    boxes[0, 1] = torch.tensor([-4.0, -4.0, 388.0, 516.0])
    boxes[0, 2] = torch.tensor([100.0, 100.0, 100.0, 100.0])
    boxes[0, 3] = torch.tensor([0.0, 0.0, 448.0, 448.0])
    spec = RoiAlignSpec(sampling=sampling, aligned=aligned)
    pooled = roi_align(Pyramid.from_levels(levels), boxes, spec)
    seen = set()
    for row, (frame, index) in enumerate((f, k) for f in range(2) for k in range(60)):
        box = boxes[frame, index]
        level = level_of(box)
        seen.add(level)
        expected = roi_align_of_level(
            levels[level - 2][frame : frame + 1],
            box,
            0.5**level,
            size=7,
            sampling=sampling,
            aligned=aligned,
        )
        actual = pooled[row].T.reshape(3, 7, 7)
        torch.testing.assert_close(actual, expected, rtol=0, atol=2e-4)
    assert seen == {2, 3, 4, 5}


def test_a_box_that_is_not_a_number_reads_no_foreign_memory() -> None:
    levels = [torch.ones((1, 1, 32 >> k, 32 >> k)) for k in range(4)]
    boxes = torch.full((1, 2, 4), float("nan"))
    boxes[0, 1] = torch.tensor([-1e30, -1e30, 1e30, 1e30])
    pooled = roi_align(Pyramid.from_levels(levels), boxes, RoiAlignSpec())
    assert pooled.shape == (2, 49, 1)


def test_padding_holds_the_fill_and_nothing_of_the_image() -> None:
    image = torch.full((1, 1, 4, 6), 200, dtype=torch.uint8)
    size = torch.tensor([[3, 5]], dtype=torch.int32)
    x = grey_input(fill=(1.0, 2.0, 3.0))(image, size)
    assert x[0, :, 3, :].T.tolist() == [[1.0, 2.0, 3.0]] * 6
    assert x[0, :, :, 5].T.tolist() == [[1.0, 2.0, 3.0]] * 4
    torch.testing.assert_close(x[0, 0, :3, :5], torch.full((3, 5), 200 - 103.53))
