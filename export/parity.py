"""Does ONNX Runtime compute what the reference computes, whatever shares the batch?

Every golden frame runs at the smallest batch size, and in every slot of every size
stands a golden frame among others (see `spinert.proto.golden_batches`); each is
compared with the reference's answer for that frame alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from spinert.export.errors import ParityError
from spinert.export.preprocess import NetworkFrame
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import (
    AgreementRule,
    Answer,
    Difference,
    agreement,
    joined,
)
from spinert.proto.golden_batches import filled, golden_batches, mate_image

__all__ = [
    "Golden",
    "Measured",
    "Run",
    "Tally",
    "golden_feed",
    "measured_parity",
    "runs_of",
]


@dataclass(frozen=True, kw_only=True)
class Golden:
    """What a graph is asked, and what it has to answer."""

    frames: Sequence[NetworkFrame]
    """The golden frames as this network receives them."""
    references: Sequence[Answer]
    """The reference's outputs for each frame alone."""
    batch_sizes: Sequence[int]
    """Each is run with a golden frame in every slot."""


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


@dataclass(frozen=True, kw_only=True)
class Run:
    """The answer to one golden frame in one slot."""

    frame: int
    where: str
    answer: Answer


_WAY_OUT: Final = (
    'the bundle is not written; set [golden] images = "phantoms" for weights that '
    "know radiographs alone, else report it with the recipe"
)


def _place(gap: Difference) -> str:
    """Say at which element an output differs most, where there is one."""
    if not gap.index:
        return ""
    place = ", ".join(str(i) for i in gap.index)
    return f", most at [{place}]: {gap.actual:.6g} instead of {gap.expected:.6g}"


def _mate(frame: NetworkFrame, part: float) -> NetworkFrame:
    image = mate_image(frame.image, (frame.height, frame.width), part)
    return replace(frame, image=image)


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
    tally = Tally(rule=rule)
    for run in runs_of(session, golden):
        tally.add(run, golden.references[run.frame])
        for name in filter(tally.misses, tally.worst):
            # No run before it missed, so that the worst is of this one.
            told = tally.told(name, rule.tolerances[name]) + _place(tally.worst[name])
            where = f"golden frame-{run.frame + 1}, {run.where}"
            raise ParityError(f"{model.name}: {where}: {told}; {_WAY_OUT}")
    return tally.measured()


def runs_of(session: Any, golden: Golden) -> Iterator[Run]:
    """Yield the answer to every golden frame in every slot of every batch size."""
    inputs = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    shapes = [frame.image.shape for frame in golden.frames]
    for slots in golden_batches(shapes, golden.batch_sizes):
        feed = golden_feed(filled(slots, golden.frames, _mate), inputs)
        results = session.run(outputs, feed)
        for slot, index in enumerate(slots):
            if index is not None:
                values = [result[slot] for result in results]
                answer = dict(zip(outputs, values, strict=True))
                where = f"batch {len(slots)}, slot {slot}"
                yield Run(frame=index, where=where, answer=answer)


@dataclass(kw_only=True)
class Tally:
    """The differences of all runs so far."""

    rule: AgreementRule
    worst: dict[str, Difference] = field(default_factory=dict)
    flips: dict[int, int] = field(default_factory=dict)

    def add(self, run: Run, reference: Answer) -> None:
        """Count one run."""
        found = agreement(reference, run.answer, self.rule)
        flips = max(found.decision_flips, self.flips.get(run.frame, 0))
        self.flips[run.frame] = flips
        for name, gap in found.differences.items():
            before = self.worst.get(name)
            self.worst[name] = joined(before, gap) if before else gap

    def misses(self, name: str, headroom: float = 1.0) -> bool:
        """Tell whether an output has missed its tolerance."""
        return not self.worst[name].max_abs * headroom <= self.rule.tolerances[name]

    def told(self, name: str, tolerance: float) -> str:
        """Say by how much an output differs."""
        gap = self.worst[name].max_abs
        return (
            f"{name} differ by {gap:.3g} from the reference, tolerance {tolerance:.3g}"
        )

    def measured(self) -> Measured:
        """Return what was counted."""
        return Measured(
            differences=self.worst,
            decision_flips=sum(self.flips.values()),
            tolerances=self.rule.tolerances,
        )
