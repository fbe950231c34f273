from __future__ import annotations

import numpy as np
import pytest

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.errors import MalformedFrame, Reason
from spinert.runtime.image import Image, Note, Photometric, Rescale, Window
from spinert.runtime.preprocess.contrast import (
    CLIPPED_SHARE,
    LOW_CONTRAST_LEVELS,
    guessed_bounds,
)
from spinert.runtime.preprocess.grey import grey_from_image
from spinert.runtime.preprocess.levels import levels_from_image

REFUSES = pb.GreyRule(
    voi=pb.VOI_LUT_THEN_WINDOW,
    invert_monochrome1=True,
    constant_image=pb.CONSTANT_IMAGE_REFUSE,
)
ZEROES = pb.GreyRule(voi=pb.VOI_LUT_THEN_WINDOW, constant_image=pb.CONSTANT_IMAGE_ZERO)


def image(pixels, **changes) -> Image:
    pixels = np.asarray(pixels)
    values = {"bits_stored": 16, "photometric": Photometric.MONOCHROME2}
    return Image(pixels=pixels, **{**values, **changes})


def ramp(levels: int = 256) -> np.ndarray:
    return np.tile(np.arange(levels, dtype=np.uint16), (8, 1))


def test_truncation_not_rounding():
    grey = grey_from_image(image(np.array([[0, 1, 2, 3]], np.uint16)), REFUSES)
    assert grey.pixels.tolist() == [[0, 85, 170, 255]]
    grey = grey_from_image(image(np.array([[0, 1, 7]], np.uint16)), REFUSES)
    assert grey.pixels.tolist() == [[0, 36, 255]]  # 36.43; and 1/7 * 255 = 36.43


def test_monochrome1_is_inverted_only_where_the_rule_says_so():
    shown = image(ramp(), photometric=Photometric.MONOCHROME1)
    assert grey_from_image(shown, REFUSES).pixels[0, 0] == 255
    assert grey_from_image(shown, ZEROES).pixels[0, 0] == 0


def test_an_eight_bit_picture_passes_unchanged():
    picture = np.full((8, 8), 40, np.uint8)
    picture[0] = 90
    grey = grey_from_image(image(picture, is_display_ready=True), REFUSES)
    assert np.array_equal(grey.pixels, picture)


@pytest.mark.parametrize("is_display_ready", [False, True])
def test_a_constant_image_follows_the_rule(is_display_ready):
    flat = image(np.full((8, 8), 7, np.uint8), is_display_ready=is_display_ready)
    with pytest.raises(MalformedFrame) as caught:
        grey_from_image(flat, REFUSES)
    assert caught.value.reason is Reason.CONSTANT_IMAGE
    grey = grey_from_image(flat, ZEROES)
    assert not grey.pixels.any()
    assert grey.notes == {Note.CONSTANT}


def test_a_window_that_flattens_the_image_makes_it_constant():
    dark = image(ramp(), window=Window(center=60000, width=10))
    with pytest.raises(MalformedFrame) as caught:
        grey_from_image(dark, REFUSES)
    assert caught.value.reason is Reason.CONSTANT_IMAGE


def test_contrast_spent_on_outliers_is_noted():
    pixels = np.tile(np.arange(100, 100 + LOW_CONTRAST_LEVELS - 2), (100, 10))
    pixels = pixels.astype(np.uint8)
    pixels[0, :2] = 0, 255
    grey = grey_from_image(image(pixels, is_display_ready=True), REFUSES)
    assert grey.notes == {Note.LOW_CONTRAST}
    wide = grey_from_image(image(ramp().astype(np.uint8), bits_stored=8), REFUSES)
    assert not wide.notes


def test_pixels_at_both_ends_are_noted_as_clipped():
    pixels = np.tile(np.arange(256, dtype=np.uint16), (64, 1))
    n_clipped = int(256 * CLIPPED_SHARE)
    for column, clipped in ((n_clipped - 3, False), (n_clipped + 3, True)):
        cut = pixels.copy()
        cut[:, : column // 2] = 0
        cut[:, -(column - column // 2) :] = 255
        notes = grey_from_image(image(cut), REFUSES).notes
        assert (Note.CLIPPED in notes) is clipped


def test_bounds_are_guessed_from_the_ends_of_the_sorted_levels():
    rng = np.random.default_rng(3)
    for shape in [(1, 1), (5, 7), (64, 64)]:
        shown = image(rng.integers(0, 4096, shape).astype(np.uint16))
        levels = levels_from_image(shown, ZEROES)
        ordered = np.sort(levels.table[shown.pixels - levels.first], axis=None)
        cut = int(0.025 * shown.pixels.size)
        bounds = int(ordered[cut]), int(ordered[-1 - cut])
        assert guessed_bounds(shown.pixels, levels) == bounds


def test_notes_of_the_image_are_kept():
    noted = image(ramp(), notes=frozenset({Note.SPACING_MISSING}))
    assert Note.SPACING_MISSING in grey_from_image(noted, REFUSES).notes


def test_values_that_do_not_occur_do_not_stretch_the_image():
    pixels = np.array([[1000, 1255]], np.uint16)
    assert grey_from_image(image(pixels), REFUSES).pixels.tolist() == [[0, 255]]


@pytest.mark.parametrize("rule", [REFUSES, ZEROES])
@pytest.mark.parametrize("slope", [1e307, -1e307])
def test_values_beyond_all_numbers_are_refused_not_black(rule, slope):
    steep = pb.GreyRule()
    steep.CopyFrom(rule)
    steep.modality_lut = True
    wild = image(ramp(), modality=Rescale(slope=slope, intercept=0.0))
    with pytest.raises(MalformedFrame) as caught:
        grey_from_image(wild, steep)
    assert caught.value.reason is Reason.MALFORMED_DICOM


def test_a_span_beyond_all_numbers_is_refused():
    steep = pb.GreyRule(voi=pb.VOI_IGNORED, modality_lut=True)
    pixels = np.array([[-30000, 30000]], np.int16)
    wide = image(pixels, modality=Rescale(slope=5e303, intercept=0.0))
    with pytest.raises(MalformedFrame):
        grey_from_image(wide, steep)
