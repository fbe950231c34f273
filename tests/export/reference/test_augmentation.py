"""Random changes keep boxes where lesions are, and follow from seed and step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Generator

from spinert.export.reference.augmentation import (
    augmented,
    frames_of_step,
    placed,
    placements,
    resized,
)
from spinert.export.reference.frames import NO_BOX, Frames
from spinert.export.reference.settings import Augmentation, Stage

EDGE = 96
ONLY_GEOMETRY = Augmentation(
    untouched=0.0, gamma=0.0, contrast=0.0, brightness=0.0, noise=0.0
)


def squares(count: int = 24) -> Frames:
    """Return grey frames with one white square, whose box is known."""
    generator = Generator().manual_seed(4)
    sizes = torch.randint(60, EDGE + 1, (count, 2), generator=generator).int()
    sizes[:, 0] = EDGE
    images = torch.zeros((count, 1, EDGE, EDGE))
    boxes = torch.zeros((count, 2, 4))
    labels = torch.full((count, 2), NO_BOX)
    for index in range(count):
        height, width = sizes[index].tolist()
        x = int(torch.randint(0, width - 20, (1,), generator=generator))
        y = int(torch.randint(0, height - 20, (1,), generator=generator))
        images[index, 0, :height, :width] = 60.0
        images[index, 0, y : y + 20, x : x + 20] = 250.0
        boxes[index, 0] = torch.tensor([x, y, x + 20, y + 20])
        labels[index, 0] = 3
    return Frames(
        images=images,
        sizes=sizes,
        abnormal=torch.ones(count, dtype=torch.bool),
        boxes=boxes,
        labels=labels,
    )


def bright_box(image: torch.Tensor) -> list[float]:
    rows, columns = torch.where(image[0] > 155)
    edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return [float(edge) for edge in edges]


@pytest.mark.parametrize("fills", [False, True])
def test_boxes_follow_what_they_enclose(fills) -> None:
    frames = squares()
    if fills:
        frames = replace(frames, sizes=torch.full_like(frames.sizes, EDGE))
    changed = augmented(
        frames,
        ONLY_GEOMETRY,
        Generator().manual_seed(8),
        fills=fills,
        visible_share=0.5,
    )
    kept = 0
    for index in range(frames.count):
        if changed.labels[index, 0] == NO_BOX:
            continue
        box = changed.boxes[index, 0]
        height, width = changed.sizes[index].tolist()
        seen = torch.tensor(bright_box(changed.images[index, :, :height, :width]))
        assert (box - seen).abs().max() <= 1.0
        bounds = changed.sizes[index].flip(0).repeat(2)
        assert (box >= 0).all()
        assert (box <= bounds).all()
        kept += 1
    assert kept > 12
    assert not torch.allclose(changed.boxes, frames.boxes, atol=2.0)
    assert torch.equal(changed.labels[:, 1], frames.labels[:, 1])


def test_valid_pixels_of_a_letterbox_come_from_valid_pixels() -> None:
    frames = squares()
    changed = augmented(frames, ONLY_GEOMETRY, Generator().manual_seed(8), fills=False)
    for index in range(frames.count):
        height, width = changed.sizes[index].tolist()
        valid = changed.images[index, 0, :height, :width]
        assert valid.min() > 59.0


def test_untouched_frames_keep_every_pixel() -> None:
    frames = squares()
    settings = replace(ONLY_GEOMETRY, untouched=1.0, flip=0.0)
    changed = augmented(frames, settings, Generator().manual_seed(1), fills=False)
    for index, (height, width) in enumerate(frames.sizes.tolist()):
        valid = (index, 0, slice(height), slice(width))
        assert (changed.images[valid] - frames.images[valid]).abs().max() < 0.01
    assert torch.equal(changed.sizes, frames.sizes)
    assert torch.equal(changed.boxes, frames.boxes)


@pytest.mark.parametrize("fills", [False, True])
def test_windows_show_the_lesion_that_they_are_to_hold(fills) -> None:
    frames = squares(40)
    bright = {}
    for share in (0.0, 1.0):
        stage = Stage(steps=1, batch=1, edge_px=EDGE, window_px=48, lesion_share=share)
        generator = Generator().manual_seed(2)
        changed = augmented(frames, ONLY_GEOMETRY, generator, fills=fills, stage=stage)
        assert changed.images.shape == (40, 1, 48, 48)
        seen = changed.images.amax(dim=(1, 2, 3)) > 240
        assert changed.boxes.max() <= 48
        bright[share] = int(seen.sum())
    assert bright[0.0] < 32
    assert bright[1.0] == 40


def test_boxes_in_windows_are_where_lesions_are() -> None:
    frames = squares(40)
    stage = Stage(steps=1, batch=1, edge_px=EDGE, window_px=48, lesion_share=1.0)
    calm = replace(ONLY_GEOMETRY, untouched=1.0)
    changed = augmented(
        frames, calm, Generator().manual_seed(5), fills=False, stage=stage
    )
    for index in range(frames.count):
        box = bright_box(changed.images[index])
        assert (changed.boxes[index, 0] - torch.tensor(box)).abs().max() <= 1.0


def test_a_lesion_that_is_cut_away_is_not_asked_for() -> None:
    frames = squares(2)
    settings = replace(ONLY_GEOMETRY, untouched=1.0, flip=0.0)
    placement = placements(frames, settings, Generator().manual_seed(1), fills=False)
    box = frames.boxes[:, 0]
    for share, left in ((0.25, 0.3), (0.3, 0.25)):
        cut = (1 - left) * 20
        moved = replace(
            placement, start=torch.stack((box[:, 1] * 0, box[:, 0] + cut), dim=1)
        )
        label = placed(frames, moved, share).labels[:, 0]
        assert torch.equal(label, torch.full((2,), 3 if left > share else NO_BOX))


def test_grey_values_change_within_their_range() -> None:
    frames = squares()
    settings = Augmentation(untouched=1.0, flip=0.0)
    changed = augmented(frames, settings, Generator().manual_seed(1), fills=False)
    assert changed.images.min() >= 0
    assert changed.images.max() <= 255
    means = changed.images[:, 0, 80:].mean(dim=(1, 2))
    assert means.std() > 3


def test_the_same_seed_changes_frames_alike() -> None:
    frames = squares(4)
    first, second, other = (
        augmented(frames, Augmentation(), Generator().manual_seed(seed), fills=False)
        for seed in (5, 5, 6)
    )
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.boxes, second.boxes)
    assert not torch.equal(first.images, other.images)


def test_every_frame_is_seen_once_a_round() -> None:
    seen = torch.cat(
        [frames_of_step(10, seed=3, first=first, batch=4) for first in range(0, 20, 4)]
    )
    first, second = seen[:10], seen[10:]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert not torch.equal(first, second)
    other = frames_of_step(10, seed=4, first=0, batch=10)
    assert not torch.equal(first, other)


def test_small_inputs_keep_boxes_in_place() -> None:
    frames = squares()
    small = resized(frames, EDGE // 2)
    assert small.images.shape[-1] == EDGE // 2
    for index in range(frames.count):
        seen = torch.tensor(bright_box(small.images[index]))
        assert (small.boxes[index, 0] - seen).abs().max() <= 1.0
    assert torch.equal(small.sizes, frames.sizes // 2)
    assert resized(frames, EDGE) is frames
