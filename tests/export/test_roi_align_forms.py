"""The two forms of RoIAlign against each other, an oracle and ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from support.detectron2_oracle import sampled_region
from support.torchvision_models import plain_roi_align
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from spinert.export.networks.roi_align import (
    SCALES,
    Pyramid,
    RoiAlignSpec,
    level_index,
    roi_align,
)
from spinert.export.networks.roi_align_operator import roi_align_by_operator
from spinert.export.onnx_from_torch import GraphSpec, onnx_from_torch

HEIGHT, WIDTH, CHANNELS = 480, 512, 3
ATOL = 1e-4
"""White noise changes by its own size from pixel to pixel."""
ADAPTIVE = RoiAlignSpec(sampling=0)
FIXED = RoiAlignSpec(sampling=2)


@pytest.fixture(scope="module")
def levels() -> list[Tensor]:
    draw = torch.Generator().manual_seed(4)
    return [
        torch.randn(2, CHANNELS, HEIGHT // s, WIDTH // s, generator=draw)
        for s in (4, 8, 16, 32)
    ]


@pytest.fixture(scope="module")
def boxes() -> Tensor:
    """Return boxes of all levels, some at and beyond the border, and a filler."""
    draw = torch.Generator().manual_seed(5)
    middle = torch.rand(2, 24, 2, generator=draw) * torch.tensor([WIDTH, HEIGHT])
    edges = 4.0 * 120.0 ** torch.rand(2, 24, 2, generator=draw)
    found = torch.cat((middle - edges / 2, middle + edges / 2), dim=2)
    found[:, 0] = 0.0
    found[:, 1] = torch.tensor([0.0, 0.0, WIDTH, HEIGHT])
    found[:, 2] = torch.tensor([-90.0, -60.0, 20.0, 30.0])
    found[:, 3] = torch.tensor([WIDTH - 9.0, HEIGHT - 5.0, WIDTH + 70.0, HEIGHT + 40])
    assert set(level_index(found).flatten().tolist()) == {0, 1, 2, 3}
    return found


@pytest.mark.parametrize("sampling", [0, 2])
def test_the_operator_pools_as_the_oracle_does(levels, boxes, sampling) -> None:
    spec = replace(ADAPTIVE, sampling=sampling)
    pooled = roi_align_by_operator(levels, boxes, spec).reshape(2, -1, CHANNELS, 7, 7)
    own = level_index(boxes)
    for frame in range(2):
        for place in range(boxes.shape[1]):
            level = int(own[frame, place])
            expected = sampled_region(
                levels[level][frame].numpy(),
                boxes[frame, place].numpy(),
                SCALES[level],
                sampling,
            )
            found = pooled[frame, place].numpy()
            np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("row_by_row", [True, False])
def test_the_plugin_free_form_pools_as_the_operator(
    levels, boxes, aligned, row_by_row
) -> None:
    spec = replace(FIXED, aligned=aligned, row_by_row=row_by_row)
    rows = roi_align(Pyramid.from_levels(levels), boxes, spec)
    expected = roi_align_by_operator(levels, boxes, spec)
    found = rows.transpose(1, 2).reshape(expected.shape)
    torch.testing.assert_close(found, expected, rtol=0, atol=ATOL)


class _Largest(TorchDispatchMode):
    """Remember the largest tensor that any operation makes."""

    values = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.values = max(self.values, result.numel())
        return result


def test_row_by_row_holds_a_seventh_of_the_pixels_at_once(levels, boxes) -> None:
    many = boxes.repeat(1, 8, 1)
    pyramid = Pyramid.from_levels(levels)
    largest = []
    for row_by_row in (False, True):
        with _Largest() as seen:
            roi_align(pyramid, many, replace(FIXED, row_by_row=row_by_row))
        largest.append(seen.values)
    assert largest == [many[..., 0].numel() * 28 * 28 * CHANNELS, largest[0] // 7]


def test_the_reference_for_torchvision_pools_as_the_operator(levels, boxes) -> None:
    spec = replace(FIXED, aligned=False)
    found = roi_align_by_operator(levels, boxes, spec).reshape(2, -1, CHANNELS, 7, 7)
    own = level_index(boxes)[0]
    for level in range(4):
        here = own == level
        expected = plain_roi_align(
            levels[level][:1], [boxes[0, here]], 7, SCALES[level], 2
        )
        torch.testing.assert_close(found[0, here], expected, rtol=0, atol=ATOL)


class _Pooling(nn.Module):
    def __init__(self, spec: RoiAlignSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(
        self, p2: Tensor, p3: Tensor, p4: Tensor, p5: Tensor, boxes: Tensor
    ) -> Tensor:
        pooled = roi_align_by_operator((p2, p3, p4, p5), boxes, self.spec)
        return pooled.reshape(boxes.shape[0], -1, CHANNELS, 7, 7)


@pytest.mark.parametrize(("sampling", "aligned"), [(0, True), (2, False)])
def test_onnx_runtimes_operator_pools_as_pytorchs(
    levels, boxes, sampling, aligned
) -> None:
    network = _Pooling(RoiAlignSpec(sampling=sampling, aligned=aligned))
    names = ("p2", "p3", "p4", "p5", "boxes")
    spec = GraphSpec(
        inputs=names,
        outputs=("pooled",),
        dynamic=({0: "batch"},) * 5,
        operators=("RoiAlign",),
    )
    model = onnx_from_torch(network, (*levels, boxes), spec)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    inputs = (*levels, boxes)
    feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    [found] = session.run(None, feed)
    expected = network(*inputs).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)
