"""The fused pass against NumPy and Pillow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from support.preprocess_twin import resize_u8

from spinert.runtime import _native

DTYPES = (np.uint8, np.uint16, np.int16)
UNTOUCHED = 7


@dataclass(frozen=True, kw_only=True)
class Case:
    """A random image, a random table for its values, and sizes to bring it to."""

    stored: np.ndarray
    first: int
    table: np.ndarray
    bounds: tuple[int, int]
    sizes: list[tuple[int, int]]
    canvases: list[tuple[int, int]]

    @property
    def grey(self) -> np.ndarray:
        return self.table[self.stored.astype(np.int64) - self.first]

    def make(self) -> tuple[tuple[int, int, int, int], list[np.ndarray]]:
        out = [np.full(shape, UNTOUCHED, np.uint8) for shape in self.canvases]
        counts = _native.make_inputs(
            self.stored,
            first=self.first,
            table=self.table,
            bounds=self.bounds,
            out=out,
            sizes=self.sizes,
        )
        return counts, out


def case(seed: int, longest: int) -> Case:
    """Draw everything from `seed`; every bit depth, every way to stretch an edge."""
    rng = np.random.default_rng(seed)
    dtype = DTYPES[seed % 3]
    bits = int(rng.integers(1, 8 * np.dtype(dtype).itemsize + 1))
    low = -(1 << (bits - 1)) if dtype is np.int16 else 0
    rows, columns = rng.integers(1, longest + 1, 2)
    stored = rng.integers(low, low + (1 << bits), (rows, columns)).astype(dtype)
    first = int(stored.min())
    sizes = [
        (int(rng.choice(edges(rng, rows))), int(rng.choice(edges(rng, columns))))
        for _ in range(rng.integers(1, 4))
    ]
    low_level, high_level = np.sort(rng.integers(0, 256, 2)).tolist()
    return Case(
        stored=stored,
        first=first,
        table=drawn_table(rng, int(stored.max()) - first + 1),
        bounds=(low_level, high_level),
        sizes=sizes,
        canvases=[
            (h + int(rng.integers(9)), w + int(rng.integers(9))) for h, w in sizes
        ],
    )


def drawn_table(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw any levels, or such as lie along a line, as a window makes them."""
    if rng.integers(2):
        return rng.integers(0, 256, length).astype(np.uint8)
    begin, end = rng.uniform(-0.5, 0.4), rng.uniform(0.6, 1.5)
    shares = (np.arange(length) / max(1, length - 1) - begin) / (end - begin)
    shares = np.clip(shares, 0, 1)
    shares = (shares - shares[0]) / max(shares[-1] - shares[0], 1e-9)
    return (255 * (shares if rng.integers(2) else 1 - shares)).astype(np.uint8)


def edges(rng: np.random.Generator, edge: int) -> tuple[int, ...]:
    """Return what an edge may become: 1, itself, half, about itself, anything."""
    near = max(1, edge + int(rng.integers(-3, 4)))
    return 1, int(edge), max(1, edge // 2), near, int(rng.integers(1, 2 * edge + 1))


def check(drawn: Case) -> None:
    counts, out = drawn.make()
    grey = drawn.grey
    low, high = drawn.bounds
    found = (grey == 0, grey <= low, grey >= high, grey == 255)
    assert counts == tuple(int(mask.sum()) for mask in found)
    for made, (height, width) in zip(out, drawn.sizes, strict=True):
        expected = resize_u8(grey, height, width)
        np.testing.assert_array_equal(made[:height, :width], expected)
        assert not made[height:].any()
        assert not made[:, width:].any()


@pytest.mark.slow
def test_ten_thousand_images_are_those_of_numpy_and_pillow():
    for seed in range(10_000):
        check(case(seed, 40 if seed % 100 else 400))


@pytest.mark.parametrize("seed", range(60))
def test_larger_images_are_those_of_numpy_and_pillow(seed):
    check(case(seed, 700))


@pytest.mark.parametrize(
    "shape", [(1, 20_000), (20_000, 1), (1, 1), (33, 65), (64, 2048)]
)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (31, 129)])
def test_extreme_shapes_are_those_of_numpy_and_pillow(shape, size):
    rng = np.random.default_rng(4)
    stored = rng.integers(0, 4096, shape).astype(np.uint16)
    table = rng.integers(0, 256, 4096).astype(np.uint8)
    drawn = Case(
        stored=stored,
        first=0,
        table=table,
        bounds=(20, 230),
        sizes=[size],
        canvases=[size],
    )
    check(drawn)


def test_white_stays_white_whatever_the_weights_add_up_to():
    stored = np.full((3, 30_000), 9, np.uint8)
    white = np.array([255], np.uint8)
    for width in (1, 2, 7, 29_999, 45_000):
        out = [np.zeros((3, width), np.uint8)]
        _native.make_inputs(
            stored, first=9, table=white, bounds=(0, 0), out=out, sizes=[(3, width)]
        )
        assert (out[0] == 255).all()


def test_a_value_outside_the_table_harms_nothing():
    stored = np.array([[-32768, 5, 32767]], np.int16)
    out = [np.zeros((1, 3), np.uint8)]
    one = np.array([200], np.uint8)
    for first in (5, -32768, 32767):
        _native.make_inputs(
            stored, first=first, table=one, bounds=(0, 0), out=out, sizes=[(1, 3)]
        )
        assert out[0][0][stored[0] == first] == 200


def test_frames_of_different_threads_do_not_mix():
    drawn = [case(seed, 200) for seed in range(24)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            list(pool.map(check, drawn))


def arguments(**changes):
    given = {
        "first": 0,
        "table": np.zeros(256, np.uint8),
        "bounds": (0, 255),
        "out": [np.zeros((4, 4), np.uint8)],
        "sizes": [(4, 4)],
    }
    return {**given, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"out": [np.zeros((4, 4))]},
        {"out": [np.zeros((8, 8), np.uint8)[::2, ::2]]},
        {"table": np.zeros(256)},
        {"bounds": (0, 256)},
        {"sizes": [(-1, 4)]},
    ],
)
def test_arguments_of_another_type_are_refused_not_converted(changes):
    with pytest.raises(TypeError):
        _native.make_inputs(np.zeros((4, 4), np.uint8), **arguments(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": [(5, 4)]},
        {"sizes": [(4, 5)]},
        {"sizes": [(0, 4)]},
        {"sizes": []},
        {"out": [np.zeros((4, 4), np.uint8)] * 9, "sizes": [(4, 4)] * 9},
        {"table": np.zeros(65_537, np.uint8)},
        {"first": 65_300},
        {"first": -32_769},
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(changes):
    with pytest.raises(ValueError, match=r"fit|size|table"):
        _native.make_inputs(np.zeros((4, 4), np.uint8), **arguments(**changes))


def test_stored_values_of_another_type_or_layout_are_refused():
    for stored in (np.zeros((4, 4)), np.zeros((8, 8), np.uint8)[::2, ::2]):
        with pytest.raises(TypeError):
            _native.make_inputs(stored, **arguments())
    with pytest.raises(ValueError, match="pixel"):
        _native.make_inputs(np.zeros((0, 4), np.uint8), **arguments())
