"""Which golden frames run together: every slot of every batch size is proven.

An engine can be right alone and wrong in slot 3 of a batch of 5 (TensorRT#4813,
#4853), so each slot of each size is given a golden frame, whose answer is known.
What that costs grows with the square of the largest size; it is kept low by putting
several golden frames into one batch, each slot once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from spinert.runtime.engine.prepare import NetworkTensor

__all__ = ["GoldenBatch", "gate_batches"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenBatch:
    """One call of a network."""

    tensors: tuple[NetworkTensor, ...]
    frames: tuple[int | None, ...]
    """By slot: index of the golden frame, None for a mate made for the occasion."""


def gate_batches(
    tensors: Sequence[NetworkTensor], sizes: Sequence[int]
) -> Iterator[GoldenBatch]:
    """Yield the batches that prove a network at all of `sizes`.

    Frames of equal padded size share a batch. The largest such group fills every
    slot of every size; other groups do so for the smallest and the largest of
    `sizes`, and at the smallest, every golden frame runs.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index, tensor in enumerate(tensors):
        groups.setdefault(tensor.size, []).append(index)
    by_count = sorted(groups.values(), key=len, reverse=True)
    smallest, largest = min(sizes), max(sizes)
    for size in sorted(set(sizes)):
        chosen = by_count if size in (smallest, largest) else by_count[:1]
        for group in chosen:
            yield from _group_batches(tensors, group, size, size == smallest)


def _group_batches(
    tensors: Sequence[NetworkTensor], group: Sequence[int], size: int, every: bool
) -> Iterator[GoldenBatch]:
    """Yield batches of `size` until each slot, and if `every` each frame, was there."""
    count = len(group)
    # Other frames come first at each size, so that more than one is seen in a batch.
    first, steps = (size - 1) % count, range(0, size, count)
    if every:
        first, steps = 0, range(0, max(size, count), min(size, count))
    for step in steps:
        places = range(first + step, first + step + min(size, count))
        golden = [group[place % count] for place in places]
        yield _batch(tensors, golden, size, offset=step % size)


def _batch(
    tensors: Sequence[NetworkTensor], golden: Sequence[int], size: int, offset: int
) -> GoldenBatch:
    """Put `golden` into the slots from `offset` on, round the end, mates elsewhere."""
    chosen = [tensors[index] for index in golden]
    while len(chosen) < size:
        chosen.append(_upside_down(chosen[-1]))
    frames: list[int | None] = [*golden, *[None] * (size - len(golden))]
    turned = [(slot - offset) % size for slot in range(size)]
    return GoldenBatch(
        tensors=tuple(chosen[place] for place in turned),
        frames=tuple(frames[place] for place in turned),
    )


def _upside_down(tensor: NetworkTensor) -> NetworkTensor:
    """Return another image of the same size: a mix-up of slots must show."""
    height = tensor.placement.valid_height
    pixels = np.array(tensor.pixels)
    pixels[:, :height] = tensor.pixels[:, :height][:, ::-1]
    # A vertical gradient keeps a copy of a symmetric image different, too.
    pixels[:, : height // 2] = pixels[:, : height // 2] // 2
    return replace(tensor, pixels=pixels)
