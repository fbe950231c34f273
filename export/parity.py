"""Does ONNX Runtime compute what the reference computes, whatever shares the batch?

Every golden frame runs in every slot of every batch size, with different mates, and
is compared with the reference's answer for that frame alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from spinert.export.errors import ParityError
from spinert.export.preprocess import NetworkFrame
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import (
    TOLERANCES,
    AgreementRule,
    Answer,
    Difference,
    agreement,
    joined,
    rule_from_bundle,
)

__all__ = ["Golden", "Measured", "golden_feed", "half_parity", "measured_parity"]

_HALF_SCALES: Final = (1.0, 2.0, 4.0, 8.0)
"""Tolerances an FP16 graph may be given, in multiples of the usual ones: some
networks amplify rounding more, the untrained most."""
_HEADROOM: Final = 2.0
"""A GPU rounds in other places than the emulation; it has this much room for it."""


@dataclass(frozen=True, kw_only=True)
class Golden:
    """What a graph is asked, and what it has to answer."""

    frames: Sequence[NetworkFrame]
    """The golden frames as this network receives them."""
    references: Sequence[Answer]
    """The reference's outputs for each frame alone."""
    batch_sizes: Sequence[int]
    """Each is run with every frame in every slot."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The differences of a graph from the reference, over all frames and slots."""

    differences: Mapping[str, Difference]
    decision_flips: int
    """Of frames; one that was run more than once counts its worst run."""
    tolerances: Mapping[str, float]

    def record(self, parity: pb.Parity) -> None:
        """Write the figures into `parity`, outputs in the order they were compared."""
        parity.decision_flips = self.decision_flips
        for name, gap in self.differences.items():
            parity.outputs.add(
                output=name,
                tolerance_abs=self.tolerances[name],
                measured_max_abs=gap.max_abs,
                measured_mean_abs=gap.mean_abs,
            )


@dataclass(frozen=True)
class _Batch:
    frames: tuple[NetworkFrame, ...]
    indices: tuple[int | None, ...]
    """Which golden frame is in each slot; None for a mate made for the occasion."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The answer to one golden frame in one slot."""

    frame: int
    where: str
    answer: Answer


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


def golden_feed(
    frames: Sequence[NetworkFrame], inputs: Sequence[str]
) -> dict[str, npt.NDArray[Any]]:
    """Return the inputs of a graph for frames of equal size, by name."""
    values: dict[str, npt.NDArray[Any]] = {
        "image": np.stack([frame.image for frame in frames]),
        "image_size": np.stack([frame.size for frame in frames]),
    }
    return {name: values[name] for name in inputs}


def measured_parity(model: Path, golden: Golden, rule: AgreementRule) -> Measured:
    """Run a graph on the CPU and return its largest differences.

    Args:
        model: ONNX file.
        golden: What to run.
        rule: By which to compare.

    Raises:
        ParityError: A difference is above its tolerance or not a number.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    tally = _Tally(rule=rule)
    for run in _runs(session, golden):
        if miss := tally.miss(run, golden.references[run.frame], 1.0):
            raise ParityError(f"{model.name}: {miss}; the bundle is not written")
    return tally.measured()


def half_parity(
    rounding: bytes, golden: Golden, bundle: pb.Bundle, role: str
) -> Measured:
    """Measure an FP16 graph, and find the tolerances to serve it by.

    They are `TOLERANCES` times the smallest power of two that leaves headroom, at
    most eight; nothing may be lost or invented under any.

    Args:
        rounding: The graph as `spinert.export.half.emulation` rounds it, serialised.
        golden: What to run.
        bundle: Its rules and thresholds.
        role: Which network.

    Raises:
        ParityError: It differs too much for the largest tolerance.
    """
    session = onnxruntime.InferenceSession(rounding, providers=["CPUExecutionProvider"])
    runs = list(_runs(session, golden))
    miss: str | None = None
    for scale in _HALF_SCALES:
        scaled = {name: scale * tol for name, tol in TOLERANCES["fp16"].items()}
        tally = _Tally(rule=rule_from_bundle(bundle, role, "fp16", scaled))
        misses = (tally.miss(r, golden.references[r.frame], _HEADROOM) for r in runs)
        miss = next(filter(None, misses), None)
        if miss is None:
            return tally.measured()
    way_out = 'export with precisions = ["fp32"]'
    raise ParityError(f"{role} in fp16: {miss}; {way_out}")


def _runs(session: Any, golden: Golden) -> Iterator[_Run]:
    """Yield the answer to every golden frame in every slot of every batch size."""
    inputs = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    for size in golden.batch_sizes:
        for batch in _batches(golden.frames, size):
            results = session.run(outputs, golden_feed(batch.frames, inputs))
            for slot, index in enumerate(batch.indices):
                if index is not None:
                    values = [result[slot] for result in results]
                    answer = dict(zip(outputs, values, strict=True))
                    where = f"batch {size}, slot {slot}"
                    yield _Run(frame=index, where=where, answer=answer)


@dataclass(kw_only=True)
class _Tally:
    """The differences of all runs so far."""

    rule: AgreementRule
    worst: dict[str, Difference] = field(default_factory=dict)
    flips: dict[int, int] = field(default_factory=dict)

    def miss(self, run: _Run, reference: Answer, headroom: float) -> str | None:
        """Count one run; return how it misses its tolerance, if it does."""
        found = agreement(reference, run.answer, self.rule)
        flips = max(found.decision_flips, self.flips.get(run.frame, 0))
        self.flips[run.frame] = flips
        for name, gap in found.differences.items():
            before = self.worst.get(name)
            self.worst[name] = joined(before, gap) if before else gap
            tolerance = self.rule.tolerances[name]
            if not gap.max_abs * headroom <= tolerance:
                return (
                    f"{run.where}: {name} differ by {gap.max_abs:.3g} from the "
                    f"reference, tolerance {tolerance / headroom:.3g}"
                )
        return None

    def measured(self) -> Measured:
        """Return what was counted."""
        return Measured(
            differences=self.worst,
            decision_flips=sum(self.flips.values()),
            tolerances=self.rule.tolerances,
        )
