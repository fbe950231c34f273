"""Which golden frames run together: every slot of every batch size is proven.

A network can be right alone and wrong in slot 3 of a batch of 5 (TensorRT#4813,
#4853), so each slot of each size is given a golden frame, whose answer is known, and
no two slots may be mixed up unnoticed. The export and the gate ask the same; what it
costs is kept low by many golden frames in one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import combinations
from math import comb
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["Slots", "filled", "golden_batches", "mate_image"]

Frame = TypeVar("Frame")
Slots = tuple[int | None, ...]
"""By slot: index of the golden frame, None for a mate made for the occasion."""


def golden_batches(shapes: Sequence[Hashable], sizes: Iterable[int]) -> Iterator[Slots]:
    """Yield the batches that prove a network at all of `sizes`.

    Frames of equal padded size share a batch. The largest such group fills every
    slot of every size so that the answer of one slot for another shows: for any two
    there is a batch in which the first holds a golden frame and the second another
    image. The other groups fill every slot of the largest size, in two batches at
    most, a golden frame beside other images. At the smallest, every golden frame runs.

    Args:
        shapes: Padded size of each golden frame.
        sizes: Of batches, at least one.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(index)
    largest_group, *others = sorted(groups.values(), key=len, reverse=True)
    ordered = sorted(set(sizes))
    for size in ordered:
        batches = _apart(largest_group, size)
        if size == ordered[-1]:
            for group in others:
                apart, beside = _apart(group, size), _beside(group, size)
                batches += apart if len(apart) <= len(beside) else beside
        if size == ordered[0]:
            batches += _missing(groups.values(), batches, size)
        yield from batches


def filled(
    slots: Slots, frames: Sequence[Frame], mate_of: Callable[[Frame, float], Frame]
) -> tuple[Frame, ...]:
    """Return what stands in each slot: golden frames, and mates of one of them.

    Args:
        slots: One of `golden_batches`.
        frames: The golden frames.
        mate_of: Makes another frame of the same size; see `mate_image`.
    """
    golden = next(frames[index] for index in slots if index is not None)
    return tuple(
        mate_of(golden, (slot + 1) / (len(slots) + 1))
        if index is None
        else frames[index]
        for slot, index in enumerate(slots)
    )


def mate_image(
    image: npt.NDArray[Any], valid: tuple[int, int], part: float
) -> npt.NDArray[Any]:
    """Return another image of the same size: the valid part rolled, and darker.

    Args:
        image: (C, H, W), golden.
        valid: Height and width of what is not padding.
        part: Of the valid height, above 0 and below 1; mates of one image with
            different parts differ.
    """
    height, width = valid
    made = image.copy()
    rolled = np.roll(image[:, :height, :width], round(part * height), axis=1)
    made[:, :height, :width] = (rolled * (0.5 + 0.5 * part)).astype(image.dtype)
    return made


def _apart(group: Sequence[int], size: int) -> list[Slots]:
    """Return the fewest batches in which no two slots can be mixed up unnoticed."""
    count = len(group)
    if count == 1:
        return _one_apart(group[0], size)
    # Other frames come first at each size, so that more than one is seen in a batch.
    first = (size - 1) % count
    turned = [*group[first:], *group[:first]]
    # Slots of equal frame in one batch differ in another digit of their number.
    batches: list[Slots] = []
    step = 1
    while step < size or not batches:
        batches.append(tuple(turned[slot // step % count] for slot in range(size)))
        step *= count
    return batches


def _one_apart(golden: int, size: int) -> list[Slots]:
    """Put one frame into a set of batches for each slot; no set holds another."""
    count = next(n for n in range(1, size + 1) if comb(n, (n + 1) // 2) >= size)
    chosen = list(combinations(range(count), (count + 1) // 2))[:size]
    return [
        tuple(golden if batch in batches else None for batches in chosen)
        for batch in range(count)
    ]


def _beside(group: Sequence[int], size: int) -> list[Slots]:
    """Return two batches, of 2 or more, in which golden frames and mates take turns."""
    return [
        tuple(
            group[(slot // 2 + turn) % len(group)] if slot % 2 == turn else None
            for slot in range(size)
        )
        for turn in (0, 1)
    ]


def _missing(
    groups: Iterable[Sequence[int]], batches: Sequence[Slots], size: int
) -> list[Slots]:
    """Return batches of the frames that are in none of `batches`."""
    met = {index for slots in batches for index in slots}
    added: list[Slots] = []
    for group in groups:
        left = [index for index in group if index not in met]
        for start in range(0, len(left), size):
            some = left[start : start + size]
            added.append((*some, *[None] * (size - len(some))))
    return added
