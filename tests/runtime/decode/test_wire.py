"""What the parent believes of a worker."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode import wire
from spinert.runtime.image import (
    Image,
    LookupTable,
    Photometric,
    Rescale,
    Spacing,
    VoiFunction,
    Window,
)

LIMITS = DecodeSettings(min_edge_px=64, max_edge_px=2048, max_pixel_mib=1)
IMAGE = Image(
    pixels=np.zeros((64, 80), np.uint16),
    bits_stored=12,
    photometric=Photometric.MONOCHROME2,
    modality=Rescale(slope=1.0, intercept=0.0),
    voi_lut=LookupTable(first=-5, bits=12, entries=np.arange(9, dtype=np.uint16)),
    window=Window(center=10.0, width=5.0),
    spacing=Spacing(row_mm=0.1, column_mm=0.2),
    study_uid="1.2.840.1",
)


def rebuilt(**changes):
    message = json.loads(json.dumps(wire.message_from_image(IMAGE) | changes))
    return wire.image_from_message(message, take, LIMITS)


def take(dtype, n_items, *, is_pixels):
    return np.zeros(n_items, dtype)


def test_an_image_within_the_limits_is_rebuilt():
    there = rebuilt()
    for name in ("bits_stored", "modality", "window", "spacing", "study_uid"):
        assert getattr(there, name) == getattr(IMAGE, name)
    assert there.pixels.shape == (64, 80)
    assert replace(there.voi_lut, entries=None) == replace(IMAGE.voi_lut, entries=None)
    assert rebuilt(study_uid="").study_uid == ""


LIES = [
    {"rows": 63},
    {"rows": 2049},
    {"columns": 63},
    {"columns": 2049},
    {"rows": 1024, "columns": 513},
    {"voi_lut": [-(2**16) - 1, 12, 9]},
    {"voi_lut": [2**16 + 1, 12, 9]},
    {"voi_lut": [0, 12, 0]},
    {"window": [10, 0.5, VoiFunction.LINEAR.value]},
    {"window": [10, 0, VoiFunction.SIGMOID.value]},
    {"window": [float("nan"), 10, VoiFunction.LINEAR.value]},
    {"rescale": [0, 1]},
    {"rescale": [1e307, 1]},
    {"rescale": [1, float("inf")]},
    {"spacing": [0, 1]},
    {"spacing": [1, -1]},
    {"study_uid": "1.2\ud800"},
    {"study_uid": "Doe^John"},
    {"study_uid": "1" * 65},
    {"study_uid": 12},
]


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_claim_beyond_the_limits_is_not_believed(lie):
    with pytest.raises((ValueError, TypeError)):
        rebuilt(**lie)
