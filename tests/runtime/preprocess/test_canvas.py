from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.errors import BundleError
from spinert.runtime.preprocess.canvas import placement

DETECTRON2 = pb.CanvasPolicy(
    shortest_edge=pb.ShortestEdge(short_edge=800, max_long_edge=1333, pad_multiple=32)
)
EDGES = st.integers(1, 8192)


def placed(rows, columns, canvas):
    found = placement(rows, columns, canvas)
    return (found.valid_height, found.valid_width, found.height, found.width)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2455, 1606), (1223, 800, 1248, 800)),
        ((2874, 1021), (1333, 474, 1344, 480)),
        ((1606, 2455), (800, 1223, 800, 1248)),
        ((800, 800), (800, 800, 800, 800)),
        ((64, 64), (800, 800, 800, 800)),
    ],
)
def test_shortest_edge_follows_detectron2(size, expected):
    assert placed(*size, DETECTRON2) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # 800 / 97 * 97 is 799.99...
        ((97, 120), (799, 989, 800, 992)),
        ((2455, 1606), (1222, 800, 1248, 800)),
        ((1021, 2874), (473, 1333, 480, 1344)),
        ((1, 3000), (1, 1333, 32, 1344)),
    ],
)
def test_floored_edges_follow_torchvision(size, expected):
    edge = pb.ShortestEdge(
        short_edge=800, max_long_edge=1333, pad_multiple=32, rounding=pb.ROUND_DOWN
    )
    assert placed(*size, pb.CanvasPolicy(shortest_edge=edge)) == expected


def detectron2_shape(rows, columns, short, longest):
    # Written down from the documented rule, with exact fractions.
    from fractions import Fraction

    scale = Fraction(short, min(rows, columns))
    if max(rows, columns) * scale > longest:
        scale = Fraction(longest, max(rows, columns))
    return [rows * scale, columns * scale]


@given(rows=EDGES, columns=EDGES)
def test_shortest_edge_rounds_to_the_nearest_pixel(rows, columns):
    found = placement(rows, columns, DETECTRON2)
    exact = detectron2_shape(rows, columns, 800, 1333)
    for got, wanted in zip((found.valid_height, found.valid_width), exact, strict=True):
        assert got >= 1
        assert abs(got - wanted) <= 0.5 + 1e-9 or wanted < 0.5


@given(
    rows=EDGES,
    columns=EDGES,
    height=st.integers(1, 2000),
    width=st.integers(1, 2000),
)
def test_a_letterboxed_image_fits_and_touches_two_edges(rows, columns, height, width):
    box = pb.CanvasPolicy(letterbox=pb.Letterbox(height=height, width=width))
    found = placement(rows, columns, box)
    assert (found.height, found.width) == (height, width)
    assert 1 <= found.valid_height <= height
    assert 1 <= found.valid_width <= width
    # Truncation may leave one pixel free, as in effdet.
    assert height - found.valid_height <= 1 or width - found.valid_width <= 1


@pytest.mark.parametrize("size", [(311, 200), (2991, 1283), (1283, 2991), (7, 3000)])
def test_a_letterbox_scales_boxes_back_by_one_scale_that_is_not_truncated(size):
    box = pb.CanvasPolicy(letterbox=pb.Letterbox(height=512, width=640))
    found = placement(*size, box)
    scale = min(512 / size[0], 640 / size[1])
    assert found.rows_per_pixel == found.columns_per_pixel == 1 / scale


@pytest.mark.parametrize(
    "canvas",
    [
        DETECTRON2,
        pb.CanvasPolicy(fixed=pb.FixedCanvas(height=224, width=192)),
        pb.CanvasPolicy(native=pb.NativeSize(pad_multiple=32)),
    ],
)
def test_other_canvases_scale_boxes_back_by_the_ratio_of_sizes(canvas):
    found = placement(2991, 1283, canvas)
    assert found.rows_per_pixel == 2991 / found.valid_height
    assert found.columns_per_pixel == 1283 / found.valid_width


def test_a_fixed_canvas_ignores_the_aspect_ratio():
    fixed = pb.CanvasPolicy(fixed=pb.FixedCanvas(height=224, width=192))
    assert placed(3000, 500, fixed) == (224, 192, 224, 192)


def test_a_native_canvas_only_pads():
    native = pb.CanvasPolicy(native=pb.NativeSize(pad_multiple=32))
    assert placed(100, 64, native) == (100, 64, 128, 64)
    unpadded = pb.CanvasPolicy(native=pb.NativeSize())
    assert placed(100, 63, unpadded) == (100, 63, 100, 63)


def test_a_canvas_without_policy_is_a_bundle_error():
    with pytest.raises(BundleError):
        placement(100, 100, pb.CanvasPolicy())


def test_blown_up_images_are_told():
    fixed = pb.CanvasPolicy(fixed=pb.FixedCanvas(height=224, width=224))
    found = placement(500, 500, fixed)
    assert found.enlarges(223, 500)
    assert found.enlarges(500, 223)
    assert not found.enlarges(224, 224)
