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


def as_bytes(canvas: pb.CanvasPolicy) -> pb.NetworkInput:
    pillow = pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST
    return pb.NetworkInput(
        element_type=pb.ELEMENT_UINT8, resampler=pillow, canvas=canvas
    )


def as_floats(
    canvas: pb.CanvasPolicy, resampler: pb.Resampler = pb.TORCH_BILINEAR_F32
) -> pb.NetworkInput:
    return pb.NetworkInput(
        element_type=pb.ELEMENT_FLOAT32,
        resampler=resampler,
        canvas=canvas,
        mean=[100, 50],
        std=[2, 10],
        fill=[0, -5],
    )


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
    frame = network_frame(grey, as_bytes(pb.CanvasPolicy(shortest_edge=edge)))
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
    frame = network_frame(grey, as_bytes(canvas))
    assert frame.size.tolist() == list(valid)
    assert frame.image.shape == (1, *padded)
    assert (frame.image[0, : valid[0], : valid[1]] == 200).all()


@pytest.mark.parametrize(
    ("rows", "columns", "valid"),
    [
        # 800 / 97 * 97 is 799.99...: torchvision makes it 799, detectron2 800.
        (97, 120, (799, 989)),
        (2455, 1606, (1222, 800)),
        (1021, 2874, (473, 1333)),
    ],
)
def test_the_floored_rule_is_torchvisions(rows, columns, valid) -> None:
    edge = pb.ShortestEdge(
        short_edge=800, max_long_edge=1333, pad_multiple=32, rounding=pb.ROUND_DOWN
    )
    grey = np.full((rows, columns), 9, dtype=np.uint8)
    frame = network_frame(grey, as_bytes(pb.CanvasPolicy(shortest_edge=edge)))
    assert (frame.height, frame.width) == valid


def test_a_float_input_is_normalised_and_then_filled() -> None:
    grey = np.full((3, 5), 110, dtype=np.uint8)
    canvas = pb.CanvasPolicy(native=pb.NativeSize(pad_multiple=4))
    frame = network_frame(grey, as_floats(canvas))
    assert frame.image.dtype == np.float32
    assert frame.image.shape == (2, 4, 8)
    assert (frame.image[0, :3, :5] == 5.0).all()
    assert (frame.image[1, :3, :5] == 6.0).all()
    assert (frame.image[:, 3, :] == [[0.0], [-5.0]]).all()
    assert (frame.image[:, :, 5:] == [[[0.0]], [[-5.0]]]).all()


def test_floats_are_blended_between_the_four_nearest_pixels() -> None:
    grey = np.array([[0, 80], [40, 200]], dtype=np.uint8)
    canvas = pb.CanvasPolicy(fixed=pb.FixedCanvas(height=4, width=4))
    image = network_frame(grey, as_floats(canvas)).image[0] * 2 + 100
    # Centres of the enlarged pixels lie at -0.25, 0.25, 0.75 and 1.25.
    assert image[0].tolist() == [0, 20, 60, 80]
    assert image[1].tolist() == [10, 35, 85, 110]
    assert image[3].tolist() == [40, 80, 160, 200]


def test_floats_can_also_be_made_of_pillows_bytes() -> None:
    grey = np.random.default_rng(2).integers(0, 256, (40, 30), dtype=np.uint8)
    canvas = pb.CanvasPolicy(fixed=pb.FixedCanvas(height=20, width=20))
    pillow = pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST
    image = network_frame(grey, as_floats(canvas, pillow)).image
    resized = network_frame(grey, as_bytes(canvas)).image[0]
    assert (image[0] == (resized.astype(np.float32) - 100) / 2).all()


def test_the_horizontal_pass_comes_first() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (90, 60), dtype=np.uint8)
    canvas = pb.CanvasPolicy(fixed=pb.FixedCanvas(height=20, width=25))
    image = Image.fromarray(grey)
    bilinear = Image.Resampling.BILINEAR
    across = image.resize((25, 90), bilinear).resize((25, 20), bilinear)
    down = image.resize((60, 20), bilinear).resize((25, 20), bilinear)
    actual = network_frame(grey, as_bytes(canvas)).image[0]
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
