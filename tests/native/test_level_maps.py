"""Stored values to levels, in whichever way the core chooses, against the table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinert.proto import bundle_pb2 as pb
from spinert.runtime import _native
from spinert.runtime.image import Image, Photometric, Rescale, VoiFunction, Window
from spinert.runtime.preprocess.levels import levels_from_image

COLUMNS = 64
RULE = pb.GreyRule(
    voi=pb.VOI_WINDOW_THEN_LUT,
    modality_lut=True,
    invert_monochrome1=True,
    constant_image=pb.CONSTANT_IMAGE_ZERO,
)


def levels_of_every_value(first: int, table: np.ndarray, dtype: type) -> np.ndarray:
    """Return what becomes of each value of `table`, in an image that has them all."""
    rows = -(-len(table) // COLUMNS)
    stored = np.full(rows * COLUMNS, first, dtype)
    stored[: len(table)] = np.arange(first, first + len(table)).astype(dtype)
    out = np.zeros((rows, COLUMNS), np.uint8)
    _native.make_inputs(
        stored.reshape(out.shape),
        first=first,
        table=table,
        bounds=(0, 255),
        out=[out],
        sizes=[out.shape],
    )
    return out.ravel()[: len(table)]


def check(first: int, table: np.ndarray, dtype: type) -> None:
    found = levels_of_every_value(first, table, dtype)
    np.testing.assert_array_equal(found, table)


def straight(length: int, begin: float = 0, end: float | None = None) -> np.ndarray:
    """Return levels that rise from value `begin` to the last before `end`."""
    last = (length if end is None else end) - 1
    shares = (np.arange(length) - begin) / max(last - begin, 1e-9)
    return (np.clip(shares, 0, 1) * 255).astype(np.uint8)


def bent(length: int) -> np.ndarray:
    """Two straight lines of different slope."""
    at = [0, length // 3, length - 1]
    return np.interp(np.arange(length), at, [0, 180, 255]).astype(np.uint8)


def s_shaped(length: int) -> np.ndarray:
    share = 1 / (1 + np.exp(-8 * (np.arange(length) / length - 0.5)))
    return ((share - share[0]) / (share[-1] - share[0]) * 255).astype(np.uint8)


def uneven(length: int) -> np.ndarray:
    """A line that meets levels exactly, rounded up at some and down at others."""
    table = np.arange(length) * 255 // (length - 1)
    exact = np.flatnonzero((np.arange(length) * 255) % (length - 1) == 0)[1:-1]
    table[exact[::2]] -= 1
    return table.astype(np.uint8)


ODD = {
    "one value": np.array([77], np.uint8),
    "two values": np.array([0, 255], np.uint8),
    "steeper than a level a value": straight(100),
    "a level a value": np.arange(256, dtype=np.uint8),
    "a step": straight(4000, 2000, 2001),
    "a step at the very end": straight(4000, 3998, 4000),
    "a step at the very beginning": straight(4000, 0, 2),
    "few levels": (straight(4096) // 64 * 85).astype(np.uint8),
    "black": np.zeros(3000, np.uint8),
    "white": np.full(3000, 255, np.uint8),
    "not from black": np.maximum(straight(4096), 9),
    "not to white": np.minimum(straight(4096), 250),
    "there and back": np.concatenate([straight(2048), straight(2048)[::-1]]),
    "a saw": np.tile(straight(1024), 4),
    "bent": bent(9000),
    "S-shaped": s_shaped(9000),
    "uneven, 12 bits": uneven(4096),
    "uneven, 16 bits": uneven(65_536),
    "all of 16 bits": straight(65_536),
    "10 bits": straight(1024),
    "512 values": straight(512),
    "clipped": straight(30_000, 4000.5, 25_000.25),
}


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("falls", [False, True])
@pytest.mark.parametrize("name", ODD)
def test_every_value_has_the_level_of_the_table(name, falls, dtype):
    table = np.ascontiguousarray(ODD[name][::-1] if falls else ODD[name])
    lowest = -(1 << 15) if dtype is np.int16 else 0
    for first in {lowest, lowest + 65_536 - len(table)}:
        check(first, table, dtype)


@pytest.mark.parametrize("falls", [False, True])
@pytest.mark.parametrize("change", [-1, 1])
def test_one_level_beside_the_line_is_found(falls, change):
    line = straight(5000, 700, 4300)
    line = line[::-1].copy() if falls else line
    rng = np.random.default_rng(5)
    for at in [0, 1, 4998, 4999, 700, 701, 4299, *rng.integers(0, 5000, 200)]:
        table = line.copy()
        table[at] = np.clip(int(table[at]) + change, 0, 255)
        check(3, table, np.uint16)


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1))
def test_windows_of_every_kind_give_the_levels_of_float64(seed):
    rng = np.random.default_rng(seed)
    bits = int(rng.integers(9, 17))
    is_signed = bool(rng.integers(2))
    low = -(1 << (bits - 1)) if is_signed else 0
    first, last = np.sort(low + rng.integers(0, 1 << bits, 2))
    whole = bool(rng.integers(2))
    window = Window(
        center=float(rng.uniform(0.2, 0.8) * (1 << bits) + low),
        width=float(rng.uniform(0.05, 1.5) * (1 << bits)) + 1,
        function=VoiFunction(rng.choice(list(VoiFunction))),
    )
    if whole:
        first, last = low, low + (1 << bits) - 1
        window = Window(center=low + (1 << (bits - 1)), width=1 << bits)
    image = Image(
        pixels=np.array([[first, last]], np.int16 if is_signed else np.uint16),
        bits_stored=bits,
        photometric=Photometric(rng.choice(list(Photometric))),
        window=window if rng.random() < 0.7 else None,
        modality=Rescale(slope=0.7, intercept=-100.0) if rng.random() < 0.3 else None,
    )
    levels = levels_from_image(image, RULE)
    check(levels.first, levels.table, image.pixels.dtype.type)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 63, 64, 65, 256])
def test_eight_bit_images_have_the_levels_of_the_table(length):
    rng = np.random.default_rng(length)
    table = rng.integers(0, 256, length).astype(np.uint8)
    for first in (0, 256 - length):
        check(first, table, np.uint8)


@pytest.mark.parametrize("columns", [1, 31, 63, 64, 65, 127, 8191, 8193])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rows_of_any_length_are_whole(columns, dtype):
    length = 256 if dtype is np.uint8 else 4096
    rng = np.random.default_rng(columns)
    stored = rng.integers(0, length, (5, columns)).astype(dtype)
    out = np.zeros(stored.shape, np.uint8)
    table = straight(length)
    counts = _native.make_inputs(
        stored, first=0, table=table, bounds=(60, 200), out=[out], sizes=[out.shape]
    )
    grey = table[stored]
    np.testing.assert_array_equal(out, grey)
    masks = (grey == 0, grey <= 60, grey >= 200, grey == 255)
    assert counts == tuple(int(mask.sum()) for mask in masks)
