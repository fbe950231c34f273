"""The fixed-point suppression against plain greedy suppression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.torchvision_models import greedy_nms
from torch import Tensor

from spinert.export.networks.suppression import survivors

ENOUGH = 64


def greedy(boxes: Tensor, iou: float) -> Tensor:
    """Return the mask (n,) of boxes that are sorted by score; fillers are out."""
    real = torch.nonzero(boxes[:, 2] > boxes[:, 0])[:, 0]
    ranks = -torch.arange(len(real), dtype=torch.float32)
    mask = torch.zeros(len(boxes))
    mask[real[greedy_nms(boxes[real], ranks, iou)]] = 1
    return mask


def clustered(count: int, seed: int, *, whole_pixels: bool = False) -> Tensor:
    """Return boxes as proposals come: many around few places."""
    draw = torch.Generator().manual_seed(seed)
    centres = 200 * torch.rand(max(1, count // 12), 2, generator=draw)
    which = torch.randint(len(centres), (count,), generator=draw)
    middle = centres[which] + 4 * torch.randn(count, 2, generator=draw)
    edges = torch.exp(0.2 * torch.randn(count, 2, generator=draw) + 3.5)
    boxes = torch.cat((middle - edges / 2, middle + edges / 2), dim=1).clamp(min=0)
    return boxes.round() if whole_pixels else boxes


def ramp(count: int) -> Tensor:
    """Return boxes of which each overlaps its neighbours only: one long chain."""
    left = torch.arange(count, dtype=torch.float32)
    return torch.stack((left, 0 * left, left + 10, 0 * left + 10), dim=1)


@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 120),
    iou=st.sampled_from([0.0, 0.3, 0.5, 0.7, 0.9]),
    whole_pixels=st.booleans(),
)
@settings(max_examples=150)
def test_a_settled_mask_is_the_greedy_one(seed, count, iou, whole_pixels) -> None:
    # Whole pixels give exact duplicates, empty boxes and ratios equal to thresholds.
    boxes = clustered(count, seed, whole_pixels=whole_pixels)
    found = survivors(boxes[None], iou, ENOUGH)
    assert not found.unsettled[0]
    assert torch.equal(found.keep[0], greedy(boxes, iou))


@given(
    seed=st.integers(0, 2**31),
    rounds=st.integers(1, 6),
    count=st.integers(2, 80),
)
@settings(max_examples=150)
def test_a_mask_that_is_not_the_greedy_one_says_so(seed, rounds, count) -> None:
    boxes = torch.stack([clustered(count, seed), ramp(count)])
    found = survivors(boxes, 0.7, rounds)
    for group in range(2):
        is_greedy = torch.equal(found.keep[group], greedy(boxes[group], 0.7))
        assert is_greedy or found.unsettled[group]
    # A chain settles one box per round and needs one more to notice.
    assert bool(found.unsettled[1]) == (rounds < count)


def test_without_rounds_nothing_is_settled_but_fillers() -> None:
    found = survivors(torch.stack([clustered(20, 1), torch.zeros(20, 4)]), 0.7, 0)
    assert found.unsettled.tolist() == [True, False]


def test_groups_do_not_suppress_each_other() -> None:
    boxes = clustered(50, 1)
    found = survivors(torch.stack([boxes, boxes]), 0.5, ENOUGH)
    assert torch.equal(found.keep[0], greedy(boxes, 0.5))
    assert torch.equal(found.keep[1], found.keep[0])


def test_fillers_neither_survive_nor_suppress() -> None:
    boxes = clustered(40, 2)
    fillers = torch.zeros(1, 4)
    mixed = torch.cat((fillers, boxes[:20], fillers, fillers, boxes[20:], fillers))
    keep = survivors(mixed[None], 0.7, ENOUGH).keep[0]
    real = mixed[:, 2] > mixed[:, 0]
    assert not keep[~real].any()
    assert torch.equal(keep[real], greedy(boxes, 0.7))


@pytest.mark.parametrize("iou", [0.7, 0.6, 0.5, 0.1])
def test_an_overlap_at_the_threshold_counts_as_in_float64(iou) -> None:
    # 0.7 lies above its nearest float32, 0.6 and 0.1 below theirs: of the shares of
    # the first box that the second fills, some give exactly that float32.
    share, pairs = np.float32(iou), []
    for _ in range(20):
        share = np.nextafter(share, np.float32(0))
    for _ in range(40):
        share = np.nextafter(share, np.float32(1))
        pairs.append([[0, 0, 1, 1], [0, 0, float(share), 1]])
    boxes = torch.tensor(pairs)
    areas = boxes[:, 1, 2]
    assert (areas / (1 + areas - areas) == float(np.float32(iou))).any()
    keep = survivors(boxes, iou, 4).keep
    for pair, kept in zip(boxes, keep, strict=True):
        assert torch.equal(kept, greedy(pair, iou))
    assert 0 < keep[:, 1].sum() < len(pairs)
