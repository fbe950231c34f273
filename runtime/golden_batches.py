"""Batches that bring every golden frame into every slot, with different mates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from spinert.runtime.engine.prepare import NetworkTensor

__all__ = ["GoldenBatch", "golden_batches"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenBatch:
    """One call of a network."""

    tensors: tuple[NetworkTensor, ...]
    frames: tuple[int | None, ...]
    """By slot: index of the golden frame, None for a mate made for the occasion."""


def golden_batches(
    tensors: Sequence[NetworkTensor], size: int
) -> Iterator[GoldenBatch]:
    """Yield batches of `size` frames of equal padded size.

    Each golden frame visits each slot once. Where too few share a size, upside-down
    copies fill the batch: a network that mixes up slots cannot return the same.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index, tensor in enumerate(tensors):
        groups.setdefault(tensor.size, []).append(index)
    for group in groups.values():
        for first in range(0, len(group), size):
            frames: list[int | None] = list(group[first : first + size])
            mates = [tensors[index] for index in group[first : first + size]]
            while len(mates) < size:
                mates.append(_upside_down(mates[-1]))
                frames.append(None)
            for turn in range(size):
                yield GoldenBatch(
                    tensors=tuple(mates[turn:] + mates[:turn]),
                    frames=tuple(frames[turn:] + frames[:turn]),
                )


def _upside_down(tensor: NetworkTensor) -> NetworkTensor:
    height = tensor.placement.valid_height
    pixels = np.array(tensor.pixels)
    pixels[:, :height] = tensor.pixels[:, :height][:, ::-1]
    # A vertical gradient keeps a copy of a symmetric image different, too.
    pixels[:, : height // 2] = pixels[:, : height // 2] // 2
    return replace(tensor, pixels=pixels)
