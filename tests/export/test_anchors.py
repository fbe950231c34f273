"""Anchors against torchvision's generator and detectron2's formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.torchvision_models import torchvision_module

from spinert.export.networks.anchors import (
    AnchorSpec,
    anchor_levels,
    by_anchor,
    cell_anchors,
    octaves,
)

RPN = AnchorSpec(
    sizes=((32,), (64,), (128,), (256,), (512,)), strides=(4, 8, 16, 32, 64)
)
RETINANET_SIZES = tuple(
    tuple(float(int(size)) for size in row) for row in octaves((32, 64, 128, 256, 512))
)


def maps_of(height: int, width: int, strides: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.zeros(1, 1, -(-height // s), -(-width // s)) for s in strides]


def whole_table(spec: AnchorSpec, height: int, width: int) -> torch.Tensor:
    maps = maps_of(height, width, spec.strides)
    levels = anchor_levels(spec, maps, torch.zeros(1, 3, height, width))
    tables = [
        level.at(torch.arange(one[0, 0].numel() * spec.per_cell))
        for level, one in zip(levels, maps, strict=True)
    ]
    return torch.cat(tables)


@pytest.mark.parametrize("size", [(800, 1344), (1248, 800), (96, 160)])
@pytest.mark.parametrize(
    "spec",
    [
        AnchorSpec(sizes=RPN.sizes, strides=RPN.strides, torchvision_form=True),
        AnchorSpec(
            sizes=RETINANET_SIZES, strides=(8, 16, 32, 64, 128), torchvision_form=True
        ),
    ],
)
def test_every_anchor_is_torchvisions(spec, size) -> None:
    generator = torchvision_module("models.detection.anchor_utils").AnchorGenerator(
        spec.sizes, (spec.ratios,) * 5
    )
    images = torchvision_module("models.detection.image_list").ImageList(
        torch.zeros(1, 3, *size), [size]
    )
    [expected] = generator(images, maps_of(*size, spec.strides))
    assert torch.equal(whole_table(spec, *size), expected)


def test_detectron2s_are_neither_rounded_nor_moved_at_an_odd_size() -> None:
    # 800 pixels make 13 cells of p6: the stride stays 64.
    table = whole_table(RPN, 800, 224)
    last = table[-3:].numpy()
    centre = np.float32((3 * 64, 12 * 64) * 2)
    for anchor, ratio in zip(last, (0.5, 1.0, 2.0), strict=True):
        width = math.sqrt(512**2 / ratio)
        corners = np.float32((-width / 2, -width * ratio / 2)) * np.float32(1)
        np.testing.assert_array_equal(anchor[:2], corners + centre[:2])
        np.testing.assert_array_equal(anchor[2:], -corners + centre[2:])


def test_sizes_come_before_ratios_in_detectron2_and_after_in_torchvision() -> None:
    both = AnchorSpec(sizes=((32.0, 64.0),), strides=(8,), ratios=(1.0, 4.0))
    theirs = AnchorSpec(
        sizes=both.sizes, strides=(8,), ratios=both.ratios, torchvision_form=True
    )
    assert both.per_cell == 4
    widths = [cell_anchors((32, 64), spec)[:, 2].tolist() for spec in (both, theirs)]
    assert widths == [[16.0, 8.0, 32.0, 16.0], [16.0, 32.0, 8.0, 16.0]]


def test_three_octave_steps_double_a_size() -> None:
    [(first, second, third), (double, *_)] = octaves((32, 64))
    assert (first, double) == (32.0, 64.0)
    assert (
        second / first == pytest.approx(third / second) == pytest.approx(2 ** (1 / 3))
    )


def test_channels_come_into_the_order_of_anchors() -> None:
    rows, columns, per_cell = 2, 3, 2
    maps = torch.zeros(1, per_cell * 4, rows, columns)
    for row in range(rows):
        for column in range(columns):
            for cell in range(per_cell):
                for value in range(4):
                    number = 1000 * row + 100 * column + 10 * cell + value
                    maps[0, cell * 4 + value, row, column] = number
    ordered = by_anchor(maps, 4)[0]
    expected = [
        [1000 * row + 100 * column + 10 * cell + value for value in range(4)]
        for row in range(rows)
        for column in range(columns)
        for cell in range(per_cell)
    ]
    assert ordered.tolist() == expected
