from __future__ import annotations

import numpy as np
import pytest
from support.preprocess_twin import resize_u8, served_input

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.errors import BundleError
from spinert.runtime.preprocess.canvas import Placement
from spinert.runtime.preprocess.resample import resize_f32

PLACE = Placement(
    valid_height=40,
    valid_width=30,
    height=64,
    width=32,
    rows_per_pixel=1.0,
    columns_per_pixel=1.0,
)
GREY = (np.arange(100 * 70).reshape(100, 70) % 256).astype(np.uint8)


def spec(element, resampler=pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST) -> pb.NetworkInput:
    return pb.NetworkInput(
        element_type=element,
        resampler=resampler,
        mean=[10, 20.5, 30],
        std=[1, 2, 58.395],
        fill=[0, -1, 2.5],
    )


def test_an_integer_input_is_the_resized_grey_padded_with_zero():
    made = served_input(GREY, PLACE, spec(pb.ELEMENT_UINT8))
    assert (made.dtype, made.shape) == (np.uint8, (1, 64, 32))
    assert made.flags.c_contiguous
    assert np.array_equal(made[0, :40, :30], resize_u8(GREY, 40, 30))
    assert not made[0, 40:].any()
    assert not made[0, :, 30:].any()


@pytest.mark.parametrize(
    ("resampler", "resized"),
    [
        (pb.PILLOW_BILINEAR_U8_HORIZONTAL_FIRST, resize_u8(GREY, 40, 30)),
        (pb.TORCH_BILINEAR_F32, resize_f32(GREY.astype(np.float32), 40, 30)),
    ],
)
def test_a_float_input_is_normalised_per_channel_and_filled(resampler, resized):
    asked = spec(pb.ELEMENT_FLOAT32, resampler)
    made = served_input(GREY, PLACE, asked)
    assert (made.dtype, made.shape) == (np.float32, (3, 64, 32))
    for channel in range(3):
        mean, std = np.float32(asked.mean[channel]), np.float32(asked.std[channel])
        expected = (resized.astype(np.float32) - mean) / std
        assert np.array_equal(made[channel, :40, :30], expected)
        assert (made[channel, 40:] == np.float32(asked.fill[channel])).all()
        assert (made[channel, :, 30:] == np.float32(asked.fill[channel])).all()


@pytest.mark.parametrize(
    "asked",
    [
        spec(pb.ELEMENT_UINT8, pb.TORCH_BILINEAR_F32),
        spec(pb.ELEMENT_TYPE_UNSPECIFIED),
    ],
)
def test_an_unknown_combination_is_a_bundle_error(asked):
    with pytest.raises(BundleError):
        served_input(GREY, PLACE, asked)
