"""Golden frames and their mates in the batches that prove a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from spinert.proto.golden_batches import Slots, golden_batches, mate
from spinert.runtime.engine.prepare import NetworkTensor

__all__ = ["GoldenBatch", "gate_batches"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenBatch:
    """One call of a network."""

    tensors: tuple[NetworkTensor, ...]
    frames: Slots


def gate_batches(
    tensors: Sequence[NetworkTensor], sizes: Sequence[int]
) -> Iterator[GoldenBatch]:
    """Yield the batches that prove a network at all of `sizes`; see `golden_batches`.

    Args:
        tensors: The golden frames as this network receives them.
        sizes: Of batches, at least one.
    """
    for slots in golden_batches([tensor.size for tensor in tensors], sizes):
        golden = next(tensors[index] for index in slots if index is not None)
        filled = (
            _mate(golden, (slot + 1) / (len(slots) + 1))
            if index is None
            else tensors[index]
            for slot, index in enumerate(slots)
        )
        yield GoldenBatch(tensors=tuple(filled), frames=slots)


def _mate(tensor: NetworkTensor, part: float) -> NetworkTensor:
    place = tensor.placement
    valid = place.valid_height, place.valid_width
    return replace(tensor, pixels=mate(tensor.pixels, valid, part))
