"""RetinaNet against torchvision's own models and an oracle for detectron2."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.retinanets import (
    ARCHITECTURE,
    BOX_PX,
    CLASSES,
    SCORE,
    calibration,
    case,
    check,
    gaps,
    greys,
    load,
    oracles,
    theirs,
    torchvision_retinanet,
)
from torch import nn

from spinert.export.networks.anchors import anchor_levels
from spinert.export.untrained.retinanet import calibrate_retinanet
from spinert.proto import bundle_pb2 as pb


@pytest.mark.parametrize("style", ["torchvision", "torchvision_v2"])
@pytest.mark.parametrize("top_k", [1000, 60])
def test_the_whole_path_answers_as_torchvision(style, top_k) -> None:
    own = case(style).with_options(top_k=top_k)
    model = load(torchvision_retinanet(style, topk_candidates=top_k), own.file())
    expected = [theirs(model, grey) for grey in greys()]
    assert sum(map(len, expected)) > 20
    for grey, wanted in zip(greys(), expected, strict=True):
        box_px, score = gaps(wanted, own.findings(grey))
        assert box_px <= BOX_PX
        assert score <= SCORE


def test_an_unused_class_in_front_is_left_out() -> None:
    plain = case("torchvision")
    # Seven scores per anchor, of which the first now belongs to no class. Without a
    # limit, because the original counts what is left out.
    bundle = pb.Network.FromString(plain.bundle.SerializeToString())
    bundle.detection.max_detections = 2000
    options = {**plain.options, "background": "first"}
    network = ARCHITECTURE.build(options, CLASSES - 1)
    network.load_state_dict(plain.network.state_dict())
    own = replace(plain, network=network.eval(), bundle=bundle)
    model = torchvision_retinanet("torchvision", detections_per_img=2000)
    everything = theirs(load(model, plain.file()), grey := greys()[0])
    expected = [replace(d, label=d.label - 1) for d in everything if d.label]
    assert 10 < len(expected) < len(everything)
    assert max(gaps(expected, own.findings(grey))) <= BOX_PX


@pytest.mark.parametrize("stride_in_1x1", [True, False])
def test_the_whole_path_answers_as_the_oracle_of_detectron2(stride_in_1x1) -> None:
    own = case("detectron2").with_options(stride_in_1x1=stride_in_1x1)
    for grey in greys():
        check(oracles(own, grey, stride_in_1x1=stride_in_1x1), own, grey, many=2)


MISTAKES = [
    ("detectron2", {"stride_in_1x1": False}),
    ("detectron2", {"frozen_bn_eps": 0.0}),
    ("detectron2", {"anchors_rounded": True}),
    ("detectron2", {"clip_boxes": True}),
    ("torchvision", {"frozen_bn_eps": 0.0}),
    ("torchvision", {"anchors_rounded": False}),
    ("torchvision", {"clip_boxes": False}),
    ("torchvision_v2", {"head_groups": 16}),
]


@pytest.mark.parametrize(("style", "mistake"), MISTAKES)
def test_a_wrong_setting_changes_the_answer(style, mistake) -> None:
    wrong = case(style).with_options(**mistake)
    worst = [gaps(case(style).findings(g), wrong.findings(g)) for g in greys()]
    assert max(worst) > (BOX_PX, SCORE)


def test_only_a_retinanet_is_calibrated_as_one() -> None:
    with pytest.raises(TypeError, match="Identity"):
        calibrate_retinanet(nn.Identity(), calibration(case("detectron2")))


@pytest.mark.parametrize("style", ["torchvision", "torchvision_v2"])
@torch.no_grad()
def test_every_level_predicts_what_torchvisions_does(style) -> None:
    own = case(style)
    model = load(torchvision_retinanet(style), own.file())
    x, _ = own.inputs(greys()[1])
    levels = own.network.backbone(x)
    logits, deltas = zip(*map(own.network.head, levels), strict=True)
    expected = model.head(list(model.backbone(x).values()))
    torch.testing.assert_close(
        torch.cat(logits, dim=1), expected["cls_logits"], rtol=0, atol=1e-3
    )
    torch.testing.assert_close(
        torch.cat(deltas, dim=1), expected["bbox_regression"], rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    ("style", "levels", "spread"),
    [("detectron2", 4, 5), ("torchvision", 4, 5), ("torchvision_v2", 2, 3)],
)
@torch.no_grad()
def test_calibrated_scores_lie_on_both_sides_and_boxes_differ(
    style, levels, spread
) -> None:
    own = case(style)
    boxes, scores, labels = own.graph()(*own.inputs(greys()[0]))
    assert scores.shape == (1, ARCHITECTURE.available(own.options, CLASSES))
    assert 0.002 < float((scores > 0.5).float().mean()) < 0.05
    sure = scores > 0.05
    assert set(labels[sure].tolist()) == set(range(CLASSES))
    edges = (boxes[sure][:, 2:] - boxes[sure][:, :2]).mean(dim=1)
    assert float(edges.max()) > spread * float(edges.quantile(0.05))
    by_level = sure.view(5, -1).sum(dim=1)
    assert (by_level[:levels] > 0).all()


@torch.no_grad()
def test_what_a_level_cannot_fill_is_zero() -> None:
    own = case("torchvision")
    boxes, scores, labels = own.graph()(*own.inputs(greys()[2]))
    # P7 of 160 x 160 pixels has four cells of 63 scores each.
    last = slice(4000 + 4 * 63, None)
    assert not scores[0, last].any()
    assert not boxes[0, last].any()
    assert not labels[0, last].any()
    assert (scores[0, 4000 : 4000 + 4 * 63] > 0).all()


@torch.no_grad()
def test_selection_keeps_what_a_threshold_would_have_kept() -> None:
    own = case("torchvision").with_options(top_k=40)
    head = own.network.head
    level = torch.randn((2, 256, 9, 7), generator=torch.Generator().manual_seed(1))
    logits, deltas = head(level)
    anchors = anchor_levels(
        own.network.spec.anchors, [level] * 5, torch.empty(2, 3, 72, 56)
    )
    _, scores, labels = own.network._selected(logits, deltas, anchors[0])
    for frame in range(2):
        flat = torch.sigmoid(logits[frame]).flatten()
        passing = torch.where(flat > 0.05)[0]
        best = flat[passing].topk(min(40, len(passing)))
        kept = scores[frame] > 0.05
        assert torch.equal(scores[frame][kept], best.values)
        assert torch.equal(labels[frame][kept], passing[best.indices] % CLASSES)
