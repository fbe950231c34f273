"""Export and runtime must make the same bytes of the same image, each on its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.data import data_directory
from support.preprocess_twin import served_input
from support.torchvision_models import torchvision_module

from spinert.export.preprocess import network_frame
from spinert.proto import bundle_pb2 as pb
from spinert.runtime.preprocess.canvas import placement

PILLOW = pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST
TORCH = pb.TORCH_BILINEAR_F32
KINDS = {
    "bytes": (pb.ELEMENT_UINT8, PILLOW),
    "floats by Pillow": (pb.ELEMENT_FLOAT32, PILLOW),
    "floats by torch": (pb.ELEMENT_FLOAT32, TORCH),
}
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def shortest(short: int, longest: int, rounding: int) -> pb.CanvasPolicy:
    edge = pb.ShortestEdge(
        short_edge=short, max_long_edge=longest, pad_multiple=32, rounding=rounding
    )
    return pb.CanvasPolicy(shortest_edge=edge)


SMALL_CANVASES = (
    shortest(60, 90, pb.ROUND_HALF_UP),
    shortest(60, 90, pb.ROUND_DOWN),
    pb.CanvasPolicy(fixed=pb.FixedCanvas(height=50, width=37)),
    pb.CanvasPolicy(letterbox=pb.Letterbox(height=64, width=96)),
    pb.CanvasPolicy(native=pb.NativeSize(pad_multiple=32)),
)


def stated(kind: str, canvas: pb.CanvasPolicy) -> pb.NetworkInput:
    element, resampler = KINDS[kind]
    return pb.NetworkInput(
        element_type=element,
        resampler=resampler,
        canvas=canvas,
        mean=MEAN,
        std=STD,
        fill=[0.0, -1.5, 2.25],
    )


def check_twins(grey: np.ndarray, wanted: pb.NetworkInput) -> None:
    exported = network_frame(grey, wanted)
    place = placement(*grey.shape, wanted.canvas)
    served = served_input(grey, place, wanted)
    assert (exported.height, exported.width) == (place.valid_height, place.valid_width)
    assert exported.image.dtype == served.dtype
    assert exported.image.shape == served.shape
    assert exported.image.tobytes() == served.tobytes()


@given(
    rows=st.integers(1, 180),
    columns=st.integers(1, 180),
    seed=st.integers(0, 9),
    kind=st.sampled_from(sorted(KINDS)),
    canvas=st.sampled_from(SMALL_CANVASES),
)
@settings(max_examples=300)
def test_twins_agree_bit_for_bit_on_any_size(rows, columns, seed, kind, canvas) -> None:
    random = np.random.default_rng(seed)
    grey = random.integers(0, 256, (rows, columns), dtype=np.uint8)
    check_twins(grey, stated(kind, canvas))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rounding", [pb.ROUND_HALF_UP, pb.ROUND_DOWN])
def test_twins_agree_bit_for_bit_on_radiographs(kind, rounding) -> None:
    films = sorted((data_directory() / "spine" / "images").glob("*.jpg"))[::5]
    assert films
    for film in films:
        grey = np.asarray(Image.open(film).convert("L"))
        check_twins(grey, stated(kind, shortest(800, 1333, rounding)))


@given(rows=st.integers(1, 20000), columns=st.integers(1, 20000))
@settings(max_examples=300)
def test_floored_edges_are_torchvisions_for_any_image(rows, columns) -> None:
    transform = torchvision_module("models.detection.transform")
    shape = torch.empty((1, rows, columns), device="meta")
    if min(rows, columns) * 1333 < max(rows, columns):
        return  # torchvision refuses to make an edge of 0
    resized, _ = transform._resize_image_and_masks(shape, 800, 1333)
    place = placement(rows, columns, shortest(800, 1333, pb.ROUND_DOWN))
    assert (place.valid_height, place.valid_width) == tuple(resized.shape[1:])


@pytest.mark.parametrize("size", [(301, 190), (190, 301), (97, 120), (64, 400)])
def test_the_whole_transform_is_torchvisions(size) -> None:
    transform = torchvision_module("models.detection.transform")
    statistics = [[value / 255 for value in values] for values in (MEAN, STD)]
    original = transform.GeneralizedRCNNTransform(160, 256, *statistics).eval()
    grey = np.random.default_rng(3).integers(0, 256, size, dtype=np.uint8)
    wanted = stated("floats by torch", shortest(160, 256, pb.ROUND_DOWN))
    del wanted.fill[:]
    wanted.fill.extend([0.0, 0.0, 0.0])
    image = torch.from_numpy(grey).to(torch.float32)[None].repeat(3, 1, 1) / 255
    expected, _ = original([image])
    made = network_frame(grey, wanted)
    assert tuple(expected.image_sizes[0]) == (made.height, made.width)
    np.testing.assert_allclose(made.image, expected.tensors[0], rtol=0, atol=1e-5)
