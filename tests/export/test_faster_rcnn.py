"""Faster R-CNN against torchvision's own models and an oracle for detectron2."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.faster_rcnns import (
    ARCHITECTURE,
    CLASSES,
    COUNTS,
    case,
    oracles,
    torchvision_faster_rcnn,
)
from support.retinanets import (
    BOX_PX,
    SCORE,
    calibration,
    check,
    gaps,
    greys,
    load,
    theirs,
)
from torch import nn

from spinert.export.networks.grey_input import input_stage
from spinert.export.untrained.faster_rcnn import calibrate_faster_rcnn
from spinert.runtime.recompute.proposals import proposals_from_ranked

STYLES = ("detectron2", "torchvision", "torchvision_v2")


@pytest.mark.parametrize(
    ("style", "frozen", "eps"),
    [
        ("torchvision", False, 1e-5),
        ("torchvision", True, 1e-5),
        ("torchvision", True, 0.0),
        ("torchvision_v2", False, 1e-5),
    ],
)
def test_the_whole_path_answers_as_torchvision(style, frozen, eps) -> None:
    own = case(style).with_options(frozen_bn_eps=eps)
    model = load(torchvision_faster_rcnn(style, frozen=frozen), own.file())
    for module in model.modules():
        if type(module).__name__ == "FrozenBatchNorm2d":
            module.eps = eps  # as overwrite_eps does for COCO_V1 weights
    for grey in greys()[:2] if frozen or style == "torchvision_v2" else greys():
        # torchvision's background is its label 0, which no class of a bundle is.
        expected = [replace(d, label=d.label - 1) for d in theirs(model, grey)]
        check(expected, own, grey, many=5)


@pytest.mark.parametrize(
    ("stride_in_1x1", "sampling"), [(True, 0), (False, 0), (True, 2)]
)
def test_the_whole_path_answers_as_the_oracle_of_detectron2(
    stride_in_1x1, sampling
) -> None:
    own = case("detectron2").with_options(
        stride_in_1x1=stride_in_1x1, roi_sampling=sampling
    )
    for grey in greys()[:2]:
        expected = oracles(own, grey, stride_in_1x1=stride_in_1x1, sampling=sampling)
        check(expected, own, grey, many=5)


def test_the_operator_on_request_gives_the_same_answer() -> None:
    own = case("torchvision")
    other = own.with_options(roi_operator=True)
    for grey in greys()[:2]:
        plain, pooled = own.candidates(grey), other.candidates(grey)
        torch.testing.assert_close(plain[0], pooled[0], rtol=0, atol=BOX_PX)
        torch.testing.assert_close(plain[1], pooled[1], rtol=0, atol=SCORE)


MISTAKES = [
    ("detectron2", {"stride_in_1x1": False}),
    ("detectron2", {"frozen_bn_eps": 0.0}),
    ("detectron2", {"anchors_rounded": True}),
    ("detectron2", {"roi_aligned": False}),
    ("detectron2", {"roi_sampling": 2}),
    ("torchvision", {"frozen_bn_eps": 0.0}),
    ("torchvision", {"anchors_rounded": False}),
    ("torchvision", {"roi_aligned": True}),
    ("torchvision", {"roi_sampling": 1}),
    ("torchvision", {"proposals": 40}),
    ("torchvision", {"rpn_per_level": 40}),
]


@pytest.mark.parametrize(("style", "mistake"), MISTAKES)
def test_a_wrong_setting_changes_the_answer(style, mistake) -> None:
    own = case(style)
    wrong = own.with_options(**mistake)
    worst = [gaps(own.findings(g), wrong.findings(g)) for g in greys()[:2]]
    assert max(worst) > (BOX_PX, SCORE)


@pytest.mark.parametrize("style", STYLES)
def test_calibrated_weights_exercise_the_arithmetic(style) -> None:
    own = case(style)
    boxes, scores, labels, status = own.candidates(greys()[0])
    assert not status
    assert 0.002 < float((scores > 0.5).to(torch.float32).mean()) < 0.1
    assert set(labels.tolist()) == set(range(CLASSES))
    edges = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt()
    assert float(edges.max()) > 4 * float(edges[edges > 0].min())
    network = own.network
    x, size = calibrated_input(own)
    with torch.no_grad():
        ranked = network.ranked(network.backbone(x), x, size)
    real = int((ranked.boxes[..., 2] > ranked.boxes[..., 0]).sum())
    kept = int((network.proposals(ranked).boxes[..., 2] > 0).sum())
    assert kept < 0.9 * real


def calibrated_input(own):
    image, size = own.inputs(greys()[0])
    return input_stage(own.bundle.input)(image, size), size


@pytest.mark.parametrize("style", ["detectron2", "torchvision"])
def test_fewer_proposals_than_places_are_filled_up_with_nothing(style) -> None:
    own = case(style).with_options(proposals=500)
    boxes, scores, labels, _ = own.candidates(greys()[0])
    fillers = boxes[:, 2] <= boxes[:, 0]
    assert 7 < int(fillers.sum()) < len(boxes)
    assert not boxes[fillers].any()
    assert not scores[fillers].any()
    assert not labels[fillers].any()
    few = case(style).with_options(proposals=2)
    first = few.candidates(greys()[0])
    torch.testing.assert_close(first[0], boxes[: 2 * CLASSES])
    torch.testing.assert_close(first[1], scores[: 2 * CLASSES])


def test_too_few_rounds_are_reported_and_the_split_graphs_answer_all_the_same() -> None:
    own = case("torchvision")
    hasty = own.with_options(nms_rounds=1)
    grey = greys()[0]
    image, size = own.inputs(grey)
    assert int(hasty.candidates(grey)[3]) == 1
    split = ARCHITECTURE.split(hasty.network)
    assert split.max_proposals == COUNTS["proposals"]
    x = input_stage(own.bundle.input)(image, size)
    with torch.no_grad():
        *levels, boxes, scores = split.proposals(x, size)
        rule = own.bundle.split
        rule.nms_iou, rule.max_proposals = split.nms_iou, split.max_proposals
        host = proposals_from_ranked(boxes[0].numpy(), scores[0].numpy(), rule)
        answer = split.regions(*levels, torch.from_numpy(host)[None], size)
    for found, expected in zip(answer, own.candidates(grey)[:3], strict=True):
        assert torch.equal(found[0], expected)


def test_the_usual_rounds_settle_every_image() -> None:
    for style in STYLES:
        for grey in greys():
            assert int(case(style).candidates(grey)[3]) == 0


def test_only_a_faster_rcnn_is_calibrated_or_cut_as_one() -> None:
    with pytest.raises(TypeError, match="Identity"):
        calibrate_faster_rcnn(nn.Identity(), calibration(case("detectron2")))
    with pytest.raises(TypeError, match="Identity"):
        ARCHITECTURE.split(nn.Identity())
