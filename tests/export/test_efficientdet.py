"""EfficientDet against effdet's own code, from the image to the detections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.data import data_directory
from support.effdet_models import (
    effdet_config,
    effdet_model,
    effdet_predictions,
    effdet_resized,
)
from support.efficientdets import (
    EDGE,
    SMALL_LEVEL,
    calibrated,
    candidates,
    detections,
    gaps_between,
    geometry_of,
    graph_of,
    letterboxed,
    style,
)
from support.small_networks import batch, calibration

from spinert.export.errors import GraphError
from spinert.export.families.efficientdet import ENTRIES, efficientdet
from spinert.export.golden import golden_images
from spinert.export.networks.efficientdet import AnchorShapes
from spinert.export.preprocess import NetworkFrame, network_frame
from spinert.export.recipe import GoldenRecipe
from spinert.export.untrained.efficientdet import calibrate_efficientdet
from spinert.proto import bundle_pb2 as pb

D0 = ENTRIES["efficientdet_d0"]
FORMS = {"effdet_tf": "tf_efficientdet_d0", "effdet": "efficientdet_d0"}


def frames_from_radiographs(count: int) -> list[NetworkFrame]:
    paths = sorted((data_directory() / "spine" / "images").glob("*.jpg"))[:count]
    greys = [np.asarray(Image.open(path).convert("L")) for path in paths]
    return [network_frame(grey, letterboxed()) for grey in greys]


@pytest.fixture(scope="module", params=FORMS)
def pair(request):
    """Ours with effdet's spelling of its weights loaded into effdet's model."""
    own, frames = calibrated(request.param)
    reference = effdet_model(effdet_config(FORMS[request.param], edge=EDGE))
    missing = reference.load_state_dict(own.state_dict())
    assert not missing.missing_keys
    return request.param, own, reference, frames


def unscaled(size: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Have effdet answer in network pixels, cut at the resized image's edges."""
    return torch.ones(len(size)), size.flip(1).to(torch.float32)


def check_against_effdet(pair, frames: list[NetworkFrame]) -> None:
    name, own, reference, _ = pair
    graph, (image, size) = graph_of(own, style(name)), batch(frames)
    expected = effdet_predictions(reference, graph.grey(image, size), *unscaled(size))
    for answer, wanted in zip(candidates(graph, image, size), expected, strict=True):
        found = detections(answer)
        # effdet keeps what lies outside of the image altogether.
        edges = wanted["boxes"][:, 2:] - wanted["boxes"][:, :2]
        inside = ((edges > 0).all(dim=1) & (wanted["scores"] > 0)).numpy()
        kept = {key: value.numpy()[inside] for key, value in wanted.items()}
        assert 20 < len(kept["scores"]) <= 100
        assert len(found["scores"]) == len(kept["scores"])
        gaps = gaps_between(kept, found)
        assert gaps["boxes"] <= 1e-2
        assert gaps["scores"] <= 1e-4
        assert gaps["labels"] == 0


def test_detections_are_those_of_effdet(pair) -> None:
    check_against_effdet(pair, pair[3])


def test_detections_on_radiographs_are_those_of_effdet(pair) -> None:
    check_against_effdet(pair, frames_from_radiographs(3))


def test_the_input_is_that_of_effdets_resize_pad() -> None:
    generator = np.random.default_rng(4)
    for rows, columns in ((300, 211), (97, 400), (333, 333)):
        grey = generator.integers(0, 256, (rows, columns), dtype=np.uint8)
        image, size = batch([network_frame(grey, letterboxed())])
        x = graph_of(None, style("effdet_tf")).grey(image, size)[0]
        expected = effdet_resized(grey, EDGE)
        torch.testing.assert_close(x, expected, rtol=0, atol=2e-6)


# Both axes cut off nearly a pixel, an axis that ends whole, both ways round.
SIZES = ((311, 200), (2991, 1283), (1283, 2991), (517, 1999), (777, 775), (97, 400))


@pytest.mark.parametrize("size", SIZES)
def test_detections_in_the_original_image_are_those_of_effdet(pair, size) -> None:
    name, own, reference, _ = pair
    rows, columns = size
    (picture,) = golden_images(GoldenRecipe(sizes=(size,)))
    grey = picture.grey(pb.GreyRule(invert_monochrome1=True))
    frame = network_frame(grey, letterboxed())
    graph, (image, valid) = graph_of(own, style(name)), batch([frame])
    scale = min(EDGE / rows, EDGE / columns)
    (wanted,) = effdet_predictions(
        reference,
        graph.grey(image, valid),
        torch.tensor([1 / scale]),
        torch.tensor([[float(columns), float(rows)]]),
    )
    edges = (wanted["boxes"][:, 2:] - wanted["boxes"][:, :2]).amin(dim=1)
    # Beside the image, or cut to nothing but a rounding.
    inside = ((edges > 1e-3) & (wanted["scores"] > 0)).numpy()
    kept = {key: value.numpy()[inside] for key, value in wanted.items()}
    found = detections(candidates(graph, image, valid)[0], geometry_of(rows, columns))
    assert len(found["scores"]) == len(kept["scores"]) > 20
    in_network = [{**a, "boxes": a["boxes"] * scale} for a in (kept, found)]
    gaps = gaps_between(*in_network)
    assert gaps["boxes"] <= 1e-2
    assert gaps["scores"] <= 1e-4
    assert gaps["labels"] == 0


def test_calibrated_scores_lie_on_both_sides_and_boxes_differ(pair) -> None:
    name, own, _, frames = pair
    found = candidates(graph_of(own, style(name)), *batch(frames))
    scores = np.stack([answer["scores"] for answer in found])
    assert 0.02 < (scores > 0.5).mean() < 0.15
    assert abs(scores[0] - scores[1]).max() > 1e-2
    for answer in found:
        edges = (answer["boxes"][:, 2:] - answer["boxes"][:, :2]).max(axis=1)
        assert edges.max() > 3 * np.median(edges)
        assert edges.max() > 6 * edges.min() > 0
        assert set(answer["labels"]) == set(range(7))


MISTAKES = {
    "padding of the backbone": {"backbone_same_padding": False},
    "eps of the backbone": {"backbone_bn_eps": 1e-5},
    "padding of the neck": {"neck_same_padding": False},
    "anchor scale": {"anchor_scale": 5.0},
    "order of anchors": {"anchor_shapes": "1x1 0.7x1.4 1.4x0.7"},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_setting_moves_the_candidates_far_beyond_the_tolerance(mistake) -> None:
    own, frames = calibrated()
    options = {**D0.options, **style("effdet_tf").options, **MISTAKES[mistake]}
    other = D0.build(options, 7).eval()
    other.load_state_dict(own.state_dict())
    gaps = gaps_of_networks(own, other, frames)
    assert gaps["boxes"] > 0.1 or gaps["labels"] > 10


def gaps_of_networks(own, other, frames, **changes) -> dict[str, float]:
    image, size = batch(frames)
    right = candidates(graph_of(own, style("effdet_tf")), image, size)
    wrong = candidates(graph_of(other, style("effdet_tf"), **changes), image, size)
    gaps = [gaps_between(r, w) for r, w in zip(right, wrong, strict=True)]
    return {key: max(gap[key] for gap in gaps) for key in gaps[0]}


def test_the_fill_colour_is_noticed() -> None:
    own, frames = calibrated()
    gaps = gaps_of_networks(own, own, frames, fill=(0.0, 0.0, 0.0))
    assert max(gaps["boxes"], gaps["scores"]) > 1e-2


def test_a_level_without_weights_sums_its_maps() -> None:
    own, frames = calibrated()
    spec = own.spec
    summed = type(own)(replace(spec, pyramid=replace(spec.pyramid, weighted=False)))
    state = {k: v for k, v in own.state_dict().items() if "edge_weights" not in k}
    summed.load_state_dict(state)
    assert gaps_of_networks(own, summed.eval(), frames)["labels"] > 10


def test_fewer_candidates_are_the_best_of_more() -> None:
    own, frames = calibrated()
    image, size = batch(frames)
    many = candidates(graph_of(own, style("effdet_tf")), image, size)
    options = {**D0.options, **style("effdet_tf").options, "top_k": 60}
    other = D0.build(options, 7).eval()
    other.load_state_dict(own.state_dict())
    few = candidates(graph_of(other, style("effdet_tf")), image, size)
    for large, small in zip(many, few, strict=True):
        assert small["scores"].shape == (60,)
        np.testing.assert_allclose(small["scores"], large["scores"][:60], rtol=1e-6)
        assert len(detections(small)["scores"]) < len(detections(large)["scores"])


def test_a_canvas_with_too_few_anchors_is_refused() -> None:
    architecture = efficientdet(SMALL_LEVEL)
    network = architecture.build({**architecture.options, "top_k": 3500}, 1).eval()
    with pytest.raises(GraphError, match="128 x 128 pixels have fewer than 3500"):
        network(torch.zeros(1, 3, 128, 128), torch.tensor([[128, 128]]))


def test_only_an_efficientdet_is_calibrated_as_one() -> None:
    frames = [network_frame(np.eye(64, dtype=np.uint8), letterboxed())] * 2
    with pytest.raises(TypeError, match="not Linear"):
        calibrate_efficientdet(torch.nn.Linear(1, 1), calibration(frames))


def test_the_largest_has_larger_anchors_and_the_two_largest_sum() -> None:
    scales = [entry.options["anchor_scale"] for entry in ENTRIES.values()]
    assert scales == [AnchorShapes().scale] * 7 + [5.0]
    with torch.device("meta"):
        weighted = [
            any(
                "edge_weights" in key
                for key in entry.build(entry.options, 7).state_dict()
            )
            for entry in ENTRIES.values()
        ]
    assert weighted == [True] * 6 + [False] * 2
