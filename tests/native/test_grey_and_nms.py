"""The compiled core against its NumPy twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spinert.runtime import _native

IMAGES = st.sampled_from([np.uint8, np.uint16, np.int16]).flatmap(
    lambda dtype: hnp.arrays(
        dtype, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
    )
)


def nms_twin(boxes, labels, iou, class_wise):
    keep = np.ones(len(boxes), bool)
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = sides[:, 0] * sides[:, 1]
    for i in range(len(boxes)):
        for j in range(i):
            if keep[j] and (not class_wise or labels[i] == labels[j]):
                low = np.maximum(boxes[i, :2], boxes[j, :2])
                high = np.minimum(boxes[i, 2:], boxes[j, 2:])
                inner = np.prod(np.maximum(high - low, np.float32(0)))
                if inner / (areas[i] + areas[j] - inner) > np.float32(iou):
                    keep[i] = False
                    break
    return keep


@given(IMAGES)
def test_range_and_counts_agree_with_numpy(stored):
    low, high = int(stored.min()), int(stored.max())
    assert _native.value_range(stored) == (low, high)
    counts = np.zeros(high - low + 1, np.uint32)
    _native.count_values(stored, first=low, counts=counts)
    np.testing.assert_array_equal(counts, np.bincount(stored.ravel().astype(int) - low))


@pytest.mark.parametrize("first", [1, -4])
def test_a_value_beyond_the_counts_is_left_out(first):
    counts = np.zeros(4, np.uint32)
    _native.count_values(np.array([[0, 4]], np.int16), first=first, counts=counts)
    assert counts.sum() == (1 if first == 1 else 0)


def test_an_image_without_pixels_has_no_range():
    with pytest.raises(ValueError, match="at least one pixel"):
        _native.value_range(np.zeros((0, 4), np.uint16))


@settings(max_examples=200)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 30),
    st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    st.booleans(),
)
def test_nms_agrees_with_the_plain_loop(seed, count, iou, class_wise):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    size = rng.integers(0, 40, (count, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    labels = rng.integers(0, 3, count)
    with np.errstate(invalid="ignore"):
        expected = nms_twin(boxes, labels, iou, class_wise)
    kept = _native.nms(boxes, labels, iou=iou, class_wise=class_wise)
    np.testing.assert_array_equal(kept, expected)


def test_an_iou_equal_to_the_limit_is_kept():
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1]], np.float32)
    labels = np.zeros(2, np.int64)
    assert _native.nms(boxes, labels, iou=0.5, class_wise=True).tolist() == [True, True]
    below = np.nextafter(np.float32(0.5), np.float32(0)).item()
    assert not _native.nms(boxes, labels, iou=below, class_wise=True)[1]
