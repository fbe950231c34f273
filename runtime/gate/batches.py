"""Golden frames and their mates in the batches that prove a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from spinert.proto.golden_batches import (
    Slots,
    filled,
    golden_batches,
    mate_image,
)
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
        yield GoldenBatch(tensors=filled(slots, tensors, _mate), frames=slots)


def _mate(tensor: NetworkTensor, part: float) -> NetworkTensor:
    valid = tensor.placement.valid_height, tensor.placement.valid_width
    return replace(tensor, pixels=mate_image(tensor.pixels, valid, part))
