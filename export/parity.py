"""Does ONNX Runtime compute what PyTorch computes, whatever shares the batch?

Every golden frame runs in every slot of every batch size, with different mates, and
is compared with PyTorch's answer for that frame alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from spinert.export.errors import ParityError
from spinert.export.preprocess import NetworkFrame

__all__ = ["TOLERANCES", "Outputs", "candidate_differences", "measured_parity"]

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]
"""One frame's outputs by name, without the batch axis."""

TOLERANCES: Final[Mapping[str, float]] = MappingProxyType(
    {"logits": 5e-4, "boxes": 1e-2, "scores": 1e-4, "labels": 0.0}
)
"""Largest absolute difference: logits, network-input pixels, probabilities, count."""


@dataclass(frozen=True)
class _Batch:
    frames: tuple[NetworkFrame, ...]
    indices: tuple[int | None, ...]
    """Which golden frame is in each slot; None for a mate made for the occasion."""


def _mirrored(frame: NetworkFrame) -> NetworkFrame:
    """Return a frame that differs from its original but has its size."""
    image = frame.image.copy()
    valid = image[:, : frame.height, : frame.width]
    image[:, : frame.height, : frame.width] = valid[:, ::-1, ::-1]
    return NetworkFrame(image=image, height=frame.height, width=frame.width)


def _batches(frames: Sequence[NetworkFrame], size: int) -> Iterator[_Batch]:
    """Yield batches of equal padded size that bring every frame to every slot."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, frame in enumerate(frames):
        groups.setdefault(frame.image.shape, []).append(index)
    for members in groups.values():
        for first in range(0, len(members), size):
            row: list[int | None] = list(members[first : first + size])
            mates = [frames[index] for index in row if index is not None]
            while len(mates) < size:
                mates.append(_mirrored(mates[-1]))
                row.append(None)
            for turn in range(size):
                yield _Batch(
                    tuple(mates[turn:] + mates[:turn]), tuple(row[turn:] + row[:turn])
                )


def _feed(frames: Sequence[NetworkFrame], inputs: Sequence[str]) -> dict[str, Array]:
    values: dict[str, Array] = {
        "image": np.stack([frame.image for frame in frames]),
        "image_size": np.stack([frame.size for frame in frames]),
    }
    return {name: values[name] for name in inputs}


def logit_differences(expected: Outputs, actual: Outputs) -> dict[str, float]:
    """Return the largest difference of a classifier's logits."""
    gap = np.abs(expected["logits"] - actual["logits"])
    return {"logits": float(gap.max())}


def candidate_differences(expected: Outputs, actual: Outputs) -> dict[str, float]:
    """Compare two sets of K candidates without regard to the order of equal scores.

    Scores are compared rank by rank. Then every expected candidate takes the unused
    actual one of its label, within the score tolerance, whose box is nearest; the
    box difference is that pair's. A candidate without partner counts as a label
    difference, unless its score is within tolerance of the K-th: there the last
    places may go to either of two equals.

    Returns:
        Maximum differences of boxes and scores, and the count of lost candidates.
    """
    tolerance = TOLERANCES["scores"]
    scores, other = expected["scores"], actual["scores"]
    ranked = np.abs(np.sort(scores) - np.sort(other))
    edge = float(scores.min()) + tolerance
    free = np.ones(len(other), dtype=bool)
    boxes, lost = 0.0, 0
    for box, score, label in zip(
        expected["boxes"], scores, expected["labels"], strict=True
    ):
        fits = free & (actual["labels"] == label) & (np.abs(other - score) <= tolerance)
        if not fits.any():
            lost += int(score > edge)
            continue
        distance = np.where(fits, np.abs(actual["boxes"] - box).max(axis=1), np.inf)
        nearest = int(np.argmin(distance))
        free[nearest] = False
        boxes = max(boxes, float(distance[nearest]))
    lost += int(np.count_nonzero(other[free] > edge))
    return {"boxes": boxes, "scores": float(ranked.max()), "labels": float(lost)}


_COMPARISONS: Final[Mapping[bool, Callable[[Outputs, Outputs], dict[str, float]]]] = (
    MappingProxyType({False: logit_differences, True: candidate_differences})
)


def measured_parity(
    model: Path,
    frames: Sequence[NetworkFrame],
    references: Sequence[Outputs],
    batch_sizes: Sequence[int],
) -> dict[str, float]:
    """Run a graph on the CPU and return the largest difference of each output.

    Args:
        model: ONNX file.
        frames: The golden frames as this network receives them.
        references: PyTorch's outputs for each frame at batch 1.
        batch_sizes: Each is run with every frame in every slot.

    Raises:
        ParityError: A difference is above `TOLERANCES` or not a number.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    compare = _COMPARISONS["boxes" in outputs]
    worst = dict.fromkeys(outputs, 0.0)
    for size in batch_sizes:
        for batch in _batches(frames, size):
            results = session.run(outputs, _feed(batch.frames, inputs))
            for slot, index in enumerate(batch.indices):
                if index is None:
                    continue
                values = [result[slot] for result in results]
                actual = dict(zip(outputs, values, strict=True))
                gaps = compare(references[index], actual)
                worst = {
                    name: float(np.maximum(worst[name], gaps[name])) for name in worst
                }
                _check(worst, f"{model.name}: batch {size}, slot {slot}")
    return worst


def _check(worst: Mapping[str, float], where: str) -> None:
    for name, gap in worst.items():
        if not gap <= TOLERANCES[name]:  # NaN is a miss too
            message = (
                f"{where}: {name} differ by {gap:.3g} from PyTorch, tolerance "
                f"{TOLERANCES[name]:.3g}; the bundle is not written"
            )
            raise ParityError(message)
