"""The twin of the runtime's preprocessing, against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from spinert.export.golden import golden_images
from spinert.export.preprocess import grey_from_stored, network_frame
from spinert.export.recipe import GoldenRecipe
from spinert.proto import bundle_pb2 as pb

RULE = pb.GreyRule(invert_monochrome1=True)


def test_grey_is_stretched_and_truncated() -> None:
    stored = np.array([[100, 101, 355, 610]], dtype=np.uint16)
    grey = grey_from_stored(stored, is_monochrome1=False, rule=RULE)
    assert grey.tolist() == [[0, 0, 127, 255]]


def test_monochrome1_is_inverted_only_if_the_rule_says_so() -> None:
    stored = np.array([[0, 1, 4]], dtype=np.uint16)
    inverted = grey_from_stored(stored, is_monochrome1=True, rule=RULE)
    kept = grey_from_stored(stored, is_monochrome1=True, rule=pb.GreyRule())
    assert inverted.tolist() == [[255, 191, 0]]
    assert kept.tolist() == [[0, 63, 255]]


@pytest.mark.parametrize(
    ("rows", "columns", "valid", "padded"),
    [
        (2455, 1606, (1223, 800), (1248, 800)),
        (2874, 1021, (1333, 474), (1344, 480)),
        (1021, 2874, (474, 1333), (480, 1344)),
        (800, 800, (800, 800), (800, 800)),
    ],
)
def test_the_shortest_edge_rule_is_detectron2s(rows, columns, valid, padded) -> None:
    edge = pb.ShortestEdge(short_edge=800, max_long_edge=1333, pad_multiple=32)
    grey = np.full((rows, columns), 9, dtype=np.uint8)
    frame = network_frame(grey, pb.CanvasPolicy(shortest_edge=edge))
    assert (frame.height, frame.width) == valid
    assert frame.image.shape == (1, *padded)
    assert (frame.image[0, : valid[0], : valid[1]] == 9).all()
    assert frame.image.sum() == 9 * valid[0] * valid[1]


@pytest.mark.parametrize(
    ("canvas", "valid", "padded"),
    [
        (pb.CanvasPolicy(fixed=pb.FixedCanvas(height=8, width=6)), (8, 6), (8, 6)),
        (
            pb.CanvasPolicy(letterbox=pb.Letterbox(height=32, width=64)),
            (32, 21),
            (32, 64),
        ),
        (pb.CanvasPolicy(native=pb.NativeSize(pad_multiple=32)), (30, 20), (32, 32)),
    ],
)
def test_every_canvas_places_the_image_top_left(canvas, valid, padded) -> None:
    grey = np.full((30, 20), 200, dtype=np.uint8)
    frame = network_frame(grey, canvas)
    assert frame.size.tolist() == list(valid)
    assert frame.image.shape == (1, *padded)
    assert (frame.image[0, : valid[0], : valid[1]] == 200).all()


def test_the_horizontal_pass_comes_first() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (90, 60), dtype=np.uint8)
    canvas = pb.CanvasPolicy(fixed=pb.FixedCanvas(height=20, width=25))
    image = Image.fromarray(grey)
    bilinear = Image.Resampling.BILINEAR
    across = image.resize((25, 90), bilinear).resize((25, 20), bilinear)
    down = image.resize((60, 20), bilinear).resize((25, 20), bilinear)
    actual = network_frame(grey, canvas).image[0]
    assert (actual == np.asarray(across)).all()
    assert (actual != np.asarray(down)).any()


def test_golden_images_are_varied_and_always_the_same() -> None:
    recipe = GoldenRecipe(sizes=((160, 128), (160, 128), (128, 160)), seed=4)
    first, again = golden_images(recipe), golden_images(recipe)
    for one, other in zip(first, again, strict=True):
        assert (one.stored == other.stored).all()
        assert one.stored.max() < 2**one.bits_stored
        assert one.stored.max() > 2 ** (one.bits_stored - 1)
    assert {image.photometric_interpretation for image in first} == {
        "MONOCHROME1",
        "MONOCHROME2",
    }
    assert {image.bits_stored for image in first} == {10, 12, 14}
    assert (first[0].grey(RULE) != first[1].grey(RULE)).mean() > 0.5
    reseeded = golden_images(GoldenRecipe(sizes=recipe.sizes, seed=5))
    assert (first[0].stored != reseeded[0].stored).mean() > 0.5
