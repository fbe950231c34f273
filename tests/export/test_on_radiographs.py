"""Every family on real radiographs, against the reference that it has on drawn ones.

EfficientDet's is in test_efficientdet.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from support import faster_rcnns, retinanets
from support.agreements import candidate_gaps
from support.data import data_directory
from support.retinanets import BOX_PX, CLASSES, SCORE, Grey, check, load, theirs
from support.small_networks import (
    DENSENET,
    SPARSE_RCNN,
    batch,
    detector_canvas,
    fixed_canvas,
    golden_frames,
    grey_input,
    small_densenet,
    small_sparse_rcnn,
)
from support.sparse_rcnn_oracle import detect
from support.torchvision_models import torchvision_densenet
from torch.nn import functional

from spinert.export.checkpoints.mapping import own_keys
from spinert.export.families.densenet import TORCHVISION_DENSENET
from spinert.export.networks.detector import DetectorGraph
from spinert.export.networks.ensemble import ClassifierEnsemble
from spinert.export.preprocess import network_frame
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import FP32, TOLERANCES

EDGE_PX = 256
K = 40


@cache
def radiographs() -> tuple[Grey, ...]:
    """Return the whole spine of one patient and of another, made small."""
    folder = data_directory() / "spine" / "images"
    found = []
    for pattern in ("normal_*.jpg", "scol_*.jpg"):
        picture = Image.open(min(folder.glob(pattern))).convert("L")
        picture.thumbnail((EDGE_PX, EDGE_PX))
        found.append(np.array(picture))
    return tuple(found)


def frames_of(canvas: pb.CanvasPolicy):
    stated = pb.NetworkInput(element_type=pb.ELEMENT_UINT8, canvas=canvas)
    return [network_frame(grey, stated) for grey in radiographs()]


@pytest.mark.parametrize("style", ["vindr", "torchvision"])
@torch.no_grad()
def test_densenets_answer_as_torchvisions(style) -> None:
    is_torchvision = style == "torchvision"
    network = small_densenet(golden_frames(fixed_canvas()), final_relu=is_torchvision)
    other = torchvision_densenet(
        growth_rate=DENSENET.growth,
        block_config=DENSENET.layers,
        num_init_features=DENSENET.stem,
        num_classes=1,
    )
    state, spelled = network.state_dict(), TORCHVISION_DENSENET.source_key
    renamed = {spelled(key): state[key] for key in own_keys(network)}
    other.load_state_dict(renamed, strict=False)
    image, size = batch(frames_of(fixed_canvas()))
    if is_torchvision:
        stage = grey_input(**TORCHVISION_DENSENET.network["input"])
        unit = image.to(torch.float32).repeat(1, 3, 1, 1) / 255
        mean, std = (
            torch.tensor(values)[:, None, None]
            for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )
        x = (unit - mean) / std
        expected = other(x)
    else:
        stage = grey_input()
        features = other.features(stage(image, size))
        pooled = functional.adaptive_avg_pool2d(features, 1).flatten(1)
        expected = other.classifier(pooled)
    answer = ClassifierEnsemble(stage, [network]).eval()(image)
    near = TOLERANCES[FP32]["logits"]
    assert abs(expected[0] - expected[1]) > 20 * near
    torch.testing.assert_close(answer, expected, rtol=0, atol=near)


@pytest.mark.parametrize("style", ["torchvision", "torchvision_v2"])
def test_faster_rcnns_answer_as_torchvisions(style) -> None:
    own = faster_rcnns.case(style)
    model = load(faster_rcnns.torchvision_faster_rcnn(style), own.file())
    for grey in radiographs():
        expected = [replace(d, label=d.label - 1) for d in theirs(model, grey)]
        check(expected, own, grey, many=5)


def test_a_faster_rcnn_of_detectron2_answers_as_its_oracle() -> None:
    own = faster_rcnns.case("detectron2")
    for grey in radiographs():
        check(faster_rcnns.oracles(own, grey), own, grey, many=5)


@pytest.mark.parametrize("style", ["torchvision", "torchvision_v2"])
def test_retinanets_answer_as_torchvisions(style) -> None:
    own = retinanets.case(style)
    model = load(retinanets.torchvision_retinanet(style), own.file())
    for grey in radiographs():
        check(theirs(model, grey), own, grey, many=5)


def test_a_retinanet_of_detectron2_answers_as_its_oracle() -> None:
    own = retinanets.case("detectron2")
    for grey in radiographs():
        check(retinanets.oracles(own, grey), own, grey, many=5)


@torch.no_grad()
def test_a_sparse_rcnn_answers_as_its_oracle() -> None:
    network = small_sparse_rcnn(golden_frames(detector_canvas()))
    graph = DetectorGraph(grey_input(), network, K).eval()
    for frame in frames_of(detector_canvas()):
        image, size = batch([frame])
        boxes, scores, labels = graph(image, size)
        found = {"boxes": boxes[0], "scores": scores[0], "labels": labels[0]}
        wanted, of_class = detect(
            network.state_dict(),
            grey_input()(image, size),
            frame.height,
            frame.width,
            heads=SPARSE_RCNN.heads,
        )
        best = of_class.flatten().topk(K)
        expected = {
            "boxes": wanted[best.indices // CLASSES],
            "scores": best.values,
            "labels": best.indices % CLASSES,
        }
        as_arrays = [
            {name: value.numpy() for name, value in answer.items()}
            for answer in (expected, found)
        ]
        assert candidate_gaps(*as_arrays)["boxes"] <= BOX_PX
        assert candidate_gaps(*as_arrays)["scores"] <= SCORE
        assert candidate_gaps(*as_arrays)["labels"] == 0
