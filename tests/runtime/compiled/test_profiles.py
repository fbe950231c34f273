"""Which shapes an engine is compiled for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bundles import network_input

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.compiled.profiles import (
    LargestImage,
    ShapeRange,
    profiles_from_network,
)
from spinert.runtime.errors import BundleError, ConfigError
from spinert.runtime.preprocess.canvas import placement

FIXED = pb.CanvasPolicy(fixed=pb.FixedCanvas(height=224, width=192))
LETTERBOX = pb.CanvasPolicy(letterbox=pb.Letterbox(height=512, width=640))
NATIVE = pb.CanvasPolicy(native=pb.NativeSize(pad_multiple=32))
EDGES = st.integers(1, 9000)


def edge(short: int, longest: int, pad: int = 32, rounding: int = 0) -> pb.CanvasPolicy:
    return pb.CanvasPolicy(
        shortest_edge=pb.ShortestEdge(
            short_edge=short,
            max_long_edge=longest,
            pad_multiple=pad,
            rounding=rounding,
        )
    )


def profiles(
    canvas: pb.CanvasPolicy,
    max_batch: int = 4,
    single: bool = False,
    largest: tuple[int, int] = (0, 0),
    **changes,
):
    spec = network_input(canvas)
    for name, value in changes.items():
        setattr(spec, name, value)
    height, width = largest
    return profiles_from_network(
        pb.Network(input=spec),
        max_batch=max_batch,
        separate_single_frames=single,
        largest=LargestImage(height_px=height, width_px=width),
    )


@pytest.mark.parametrize(
    ("canvas", "height", "width"), [(FIXED, 224, 192), (LETTERBOX, 512, 640)]
)
def test_a_canvas_of_one_size_varies_in_nothing_but_the_batch(canvas, height, width):
    (profile,) = profiles(canvas)
    assert profile.image == ShapeRange(
        minimum=(1, 1, height, width),
        optimum=(4, 1, height, width),
        maximum=(4, 1, height, width),
    )
    assert profile.image_size is None


def test_a_shortest_edge_reaches_from_the_widest_to_the_tallest_image():
    (profile,) = profiles(edge(800, 1333), takes_image_size=True)
    assert profile.image.minimum == (1, 1, 32, 32)
    assert profile.image.maximum == (4, 1, 1344, 1344)
    # 2455 x 1606 pixels become 1223 x 800, padded.
    assert profile.image.optimum == (4, 1, 1248, 800)
    assert profile.image_size == ShapeRange(
        minimum=(1, 2), optimum=(4, 2), maximum=(4, 2)
    )


@given(
    rows=EDGES,
    columns=EDGES,
    short=st.integers(16, 1500),
    longest=st.integers(16, 2000),
    pad=st.sampled_from([1, 7, 32, 128]),
    rounding=st.sampled_from([pb.ROUND_HALF_UP, pb.ROUND_DOWN]),
)
def test_every_image_fits_a_shortest_edge(rows, columns, short, longest, pad, rounding):
    canvas = edge(short, longest, pad, rounding)
    place = placement(rows, columns, canvas)
    (profile,) = profiles(canvas)
    assert profile.image.holds((1, 1, place.height, place.width))
    assert profile.image.holds(profile.image.optimum)


@given(rows=st.integers(1, 3000), columns=st.integers(1, 2000))
def test_every_image_up_to_the_stated_one_fits_its_native_size(rows, columns):
    (profile,) = profiles(NATIVE, largest=(3000, 2000))
    place = placement(rows, columns, NATIVE)
    assert profile.image.holds((4, 1, place.height, place.width))


def test_the_optimum_of_native_images_is_no_larger_than_the_stated_one():
    (profile,) = profiles(NATIVE, largest=(1000, 3000))
    assert profile.image.optimum == (4, 1, 1024, 1632)
    assert profile.image.maximum == (4, 1, 1024, 3008)


@pytest.mark.parametrize("largest", [(0, 0), (1000, 0), (0, 1000)])
def test_native_images_need_a_stated_largest_one(largest):
    with pytest.raises(ConfigError, match=r"engines.max_height_px"):
        profiles(NATIVE, largest=largest)


def test_a_canvas_without_policy_is_refused():
    with pytest.raises(BundleError):
        profiles(pb.CanvasPolicy())


def test_a_lone_frame_gets_a_profile_of_its_own_where_kernels_are_fixed_early():
    first, rest = profiles(FIXED, max_batch=8, single=True)
    assert [shape[0] for shape in _corners(first)] == [1, 1, 1]
    assert [shape[0] for shape in _corners(rest)] == [2, 8, 8]


def fitting_profile(made, batch, height, width):
    """Return the index of the first profile that holds a batch of such images."""
    for index, profile in enumerate(made):
        channels = profile.image.minimum[1]
        if profile.image.holds((batch, channels, height, width)):
            return index
    return None


def test_batches_of_one_need_no_second_profile():
    assert len(profiles(FIXED, max_batch=1, single=True)) == 1


@pytest.mark.parametrize("max_batch", [1, 2, 3, 8, 32])
@pytest.mark.parametrize("single", [True, False])
def test_every_batch_up_to_the_largest_fits_exactly_one_profile(max_batch, single):
    made = profiles(edge(64, 96), max_batch, single)
    for batch in range(1, max_batch + 1):
        fitting = [p for p in made if p.image.holds((batch, 1, 64, 96))]
        assert len(fitting) == 1
        index = fitting_profile(made, batch, 64, 96)
        assert index is not None
        assert made[index] == fitting[0]
    assert fitting_profile(made, max_batch + 1, 64, 96) is None


def test_an_image_beyond_the_bounds_fits_no_profile():
    made = profiles(edge(64, 96))
    assert fitting_profile(made, 1, 96, 96) == 0
    assert fitting_profile(made, 1, 128, 96) is None
    assert fitting_profile(made, 0, 96, 96) is None


def test_images_normalised_by_the_runtime_have_a_channel_for_each_mean():
    (profile,) = profiles(FIXED, element_type=pb.ELEMENT_FLOAT32)
    assert {shape[1] for shape in _corners(profile)} == {3}
    assert fitting_profile((profile,), 2, 224, 192) == 0


def test_a_range_holds_shapes_of_as_many_axes_only():
    shapes = ShapeRange(minimum=(1, 2), optimum=(1, 2), maximum=(4, 2))
    assert shapes.holds((4, 2))
    assert not shapes.holds((5, 2))
    assert not shapes.holds((4, 1))
    assert not shapes.holds((4, 2, 1))


def test_inputs_are_named_as_in_the_graph():
    (plain,) = profiles(FIXED)
    assert set(plain.inputs()) == {"image"}
    (sized,) = profiles(FIXED, takes_image_size=True)
    assert sized.inputs() == {"image": sized.image, "image_size": sized.image_size}


def _corners(profile):
    return (profile.image.minimum, profile.image.optimum, profile.image.maximum)
