"""Does ONNX Runtime compute what the reference computes, whatever shares the batch?

Every golden frame runs alone, and in every slot of every larger batch stands a golden
frame among others; each is compared with the reference's answer for that frame alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from spinert.export.errors import ParityError
from spinert.export.preprocess import NetworkFrame
from spinert.proto import bundle_pb2 as pb
from spinert.proto.agreement import (
    FP16,
    TOLERANCES,
    AgreementRule,
    Answer,
    Difference,
    agreement,
    joined,
    rule_from_bundle,
)

__all__ = ["Golden", "Measured", "golden_feed", "half_parity", "measured_parity"]

_HALF_LIMITS: Final[Mapping[str, float]] = MappingProxyType(
    {"logits": 0.8, "boxes": 64.0, "scores": 0.16, "switched": 0.4}
)
"""The widest tolerances an FP16 graph may be given. Some networks amplify rounding
more than others, untrained ones most; boxes that leave the image are the largest."""
_MAY_BE_LOST: Final = 2.0
"""Of a frame, where proposals switch."""
_PAIRED: Final = ("boxes", "scores")
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


def _mate(frame: NetworkFrame, part: float) -> NetworkFrame:
    """Return another image of its size: the valid part rolled, and darker."""
    image = frame.image.copy()
    valid = image[:, : frame.height, : frame.width]
    rolled = np.roll(valid, round(part * frame.height), axis=1)
    darker = (rolled * (0.5 + 0.5 * part)).astype(image.dtype)
    image[:, : frame.height, : frame.width] = darker
    return NetworkFrame(image=image, height=frame.height, width=frame.width)


def _batches(frames: Sequence[NetworkFrame], size: int) -> Iterator[_Batch]:
    """Yield batches of equal padded size with a golden frame in every slot once.

    Golden frames and mates take turns, so that neighbours differ.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, frame in enumerate(frames):
        groups.setdefault(frame.image.shape, []).append(index)
    for members in groups.values():
        if size == 1:
            yield from (_Batch((frames[index],), (index,)) for index in members)
            continue
        for turn in (0, 1):
            yield _turn(frames, members, size, turn)


def _turn(
    frames: Sequence[NetworkFrame], members: Sequence[int], size: int, turn: int
) -> _Batch:
    """Put golden frames into every second slot from `turn` on, mates in between."""
    chosen = [members[(slot // 2 + turn) % len(members)] for slot in range(size)]
    is_golden = [slot % 2 == turn for slot in range(size)]
    made = (
        frames[index] if golden else _mate(frames[index], (slot + 1) / (size + 1))
        for slot, (index, golden) in enumerate(zip(chosen, is_golden, strict=True))
    )
    indices = zip(chosen, is_golden, strict=True)
    return _Batch(tuple(made), tuple(i if golden else None for i, golden in indices))


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
        tally.add(run, golden.references[run.frame])
        for name in filter(tally.misses, tally.worst):
            told = tally.told(name, rule.tolerances[name])
            raise ParityError(
                f"{model.name}: {run.where}: {told}; the bundle is not written"
            )
    return tally.measured()


def half_parity(
    rounding: bytes, golden: Golden, bundle: pb.Bundle, role: str
) -> Measured:
    """Measure an FP16 graph, and find the tolerances to serve it by.

    They are `TOLERANCES`, doubled for an output until it has headroom or its limit is
    reached.

    Args:
        rounding: The graph as `spinert.export.half.emulation` rounds it, serialised.
        golden: What to run.
        bundle: Its rules and thresholds.
        role: Which network.

    Raises:
        ParityError: It differs too much for the widest tolerance.
    """
    session = onnxruntime.InferenceSession(rounding, providers=["CPUExecutionProvider"])
    runs = list(_runs(session, golden))
    tolerances = dict(TOLERANCES[FP16])
    while True:
        rule = rule_from_bundle(bundle, role, FP16, tolerances)
        tally = _Tally(rule=rule)
        for run in runs:
            tally.add(run, golden.references[run.frame])
        tight = [
            name for name in tally.worst if tally.misses(name, _headroom(name, rule))
        ]
        if not tight:
            return tally.measured()
        wider = _widened(rule, tight)
        if wider == tolerances:
            room = _headroom(tight[0], rule)
            told = tally.told(tight[0], tolerances[tight[0]] / room)
            way_out = 'export with precisions = ["fp32"]'
            raise ParityError(f"{role} in fp16: {told}; {way_out}")
        tolerances = wider


def _headroom(name: str, rule: AgreementRule) -> float:
    """Return how many times its tolerance an output has to fit."""
    # A count is a count; and where proposals switch, a pair is within these two by
    # definition.
    exact = name == "labels" or (rule.switching and name in _PAIRED)
    return 1.0 if exact else _HEADROOM


def _widened(rule: AgreementRule, tight: Sequence[str]) -> dict[str, float]:
    """Return tolerances, those that are too tight doubled as far as they may be.

    Fewer candidates stay alone where the tolerances of a pair are wider. Only with
    proposals that switch may a candidate be lost, and that is stated.
    """
    limits = {**_HALF_LIMITS, "labels": _MAY_BE_LOST if rule.switching else 0.0}
    alone = {"switched", "labels"} & set(tight)
    names = {*tight, *(_PAIRED if alone else ())}
    wider = dict(rule.tolerances)
    for name in names:
        doubled = 2 * wider[name] if name != "labels" else wider[name] + 1
        wider[name] = min(doubled, limits[name])
    return wider


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

    def add(self, run: _Run, reference: Answer) -> None:
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
