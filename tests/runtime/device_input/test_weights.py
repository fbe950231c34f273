from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PillowImage

from spinert.runtime.device_input.weights import PRECISION_BITS, bilinear_weights

AXES = [(1, 1), (1, 7), (7, 1), (2, 3), (3, 2), (5, 5), (64, 64), (100, 33), (33, 100)]
AXES += [(2500, 800), (1606, 224), (2455, 224), (2, 1000), (1000, 2), (8192, 1)]


def resized(line, results):
    weights = bilinear_weights(len(line), results)
    taps = weights.starts + np.arange(weights.taps)[:, None]
    sums = (line[taps].astype(np.int64) * weights.values).sum(axis=0)
    return np.clip((sums + (1 << (PRECISION_BITS - 1))) >> PRECISION_BITS, 0, 255)


@pytest.mark.parametrize(("sources", "results"), AXES)
def test_an_axis_is_resized_as_pillow_does(sources, results):
    for seed in range(5):
        line = np.random.default_rng(seed).integers(0, 256, sources, dtype=np.uint8)
        image = PillowImage.fromarray(line[None])
        expected = image.resize((results, 1), PillowImage.Resampling.BILINEAR)
        np.testing.assert_array_equal(resized(line, results), np.asarray(expected)[0])


def test_random_axes_are_resized_as_pillow_does():
    random = np.random.default_rng(3)
    for _ in range(1000):
        sources, results = random.integers(1, 200, 2)
        line = random.integers(0, 256, sources, dtype=np.uint8)
        image = PillowImage.fromarray(line[None])
        expected = image.resize((results, 1), PillowImage.Resampling.BILINEAR)
        np.testing.assert_array_equal(resized(line, results), np.asarray(expected)[0])


def test_no_tap_lies_outside_the_axis():
    for sources, results in AXES:
        weights = bilinear_weights(sources, results)
        assert weights.starts.min() >= 0
        assert weights.starts.max() + weights.taps <= sources
        assert weights.values.dtype == weights.starts.dtype == np.int32
        assert weights.values.shape == (weights.taps, results)


def test_an_axis_that_keeps_its_size_keeps_its_values():
    line = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(resized(line, 256), line)
