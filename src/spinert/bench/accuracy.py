"""Are two answers to one frame the same, within the bundle's tolerances? Pure.

A server must say what the pipeline says in one process: same backend, same
precision, whatever the frame was batched with. So figures may differ by what the
bundle allows between two backends of one precision, and a decision only where the
figure stands that near to its threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spinert.proto import bundle_pb2
from spinert.proto import inference_pb2 as pb
from spinert.proto.agreement import TOLERANCES
from spinert.runtime.bundle import DETECTOR
from spinert.runtime.preprocess.canvas import placement

__all__ = ["Tolerances", "accuracy_of", "differences", "tolerances_from_bundle"]

_MOST_TOLD: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerances:
    """Largest differences allowed."""

    logit: float
    score: float
    box_px: float
    """In pixels of the detector's input."""
    canvas: bundle_pb2.CanvasPolicy
    """Of the detector."""

    def box_px_of(self, rows: int, columns: int) -> float:
        """Return what a box may differ by in the image, which is scaled for it."""
        place = placement(rows, columns, self.canvas)
        return self.box_px * max(place.rows_per_pixel, place.columns_per_pixel)


def tolerances_from_bundle(spec: bundle_pb2.Bundle) -> Tolerances:
    """Return what the bundle states for FP32, the default where it states none."""
    stated = dict(TOLERANCES["fp32"])
    for network in spec.networks.values():
        stated |= {o.output: o.tolerance_abs for o in network.parity.outputs}
    return Tolerances(
        logit=stated["logits"],
        score=stated["scores"],
        box_px=stated["boxes"],
        canvas=spec.networks[DETECTOR].input.canvas,
    )


def differences(
    ours: pb.Verdict, theirs: pb.Verdict, allowed: Tolerances
) -> Iterator[str]:
    """Yield every way in which two verdicts differ by more than is allowed."""
    yield from _classification(ours, theirs, allowed)
    wanted, found = list(theirs.findings), list(ours.findings)
    box_px = allowed.box_px_of(theirs.rows, theirs.columns)
    for finding in wanted:
        match = next((f for f in found if _same(f, finding, allowed, box_px)), None)
        if match is None:
            if not _may_come_and_go(finding, theirs, allowed):
                yield f"{finding.class_name} {finding.score:.4f} is not found again"
            continue
        found.remove(match)
    for finding in found:
        if not _may_come_and_go(finding, ours, allowed):
            yield f"{finding.class_name} {finding.score:.4f} is new"


def accuracy_of(
    answers: Sequence[bytes | None],
    expected: Sequence[pb.Result | str],
    allowed: Tolerances,
) -> dict[str, Any]:
    """Return JSON values: how many answers are those of the pipeline."""
    told, identical = [], 0
    answered = 0
    largest = 0.0
    for index, (given, wanted) in enumerate(zip(answers, expected, strict=True)):
        if given is None or isinstance(wanted, str):
            if given is not None or not isinstance(wanted, str):
                told.append(f"frame {index}: answered by one of the two only")
            continue
        answered += 1
        verdict = pb.Verdict.FromString(given)
        is_identical = given == wanted.verdict.SerializeToString(deterministic=True)
        identical += is_identical
        apart = abs(verdict.abnormal_probability - wanted.verdict.abnormal_probability)
        largest = max(largest, apart)
        found = differences(verdict, wanted.verdict, allowed)
        told += [f"frame {index}: {what}" for what in found]
    return {
        "frames": len(answers),
        "answered": answered,
        "bit_identical": identical,
        "largest_probability_difference": largest,
        "differences": told[:_MOST_TOLD],
        "passed": not told and answered > 0,
    }


def _classification(
    ours: pb.Verdict, theirs: pb.Verdict, allowed: Tolerances
) -> Iterator[str]:
    for mine, other in zip(ours.members, theirs.members, strict=True):
        apart = abs(mine.logit - other.logit)
        if apart > allowed.logit:
            yield f"logit of {mine.name} differs by {apart:.2g}"
    # No probability moves by more than a quarter of its logit.
    margin = allowed.logit + allowed.score
    unsure = abs(theirs.abnormal_probability - theirs.threshold) <= margin
    if ours.decision != theirs.decision and not unsure:
        yield "another decision"


def _same(
    ours: pb.Finding, theirs: pb.Finding, allowed: Tolerances, box_px: float
) -> bool:
    edges = ("x_min", "y_min", "x_max", "y_max")
    return (
        ours.class_index == theirs.class_index
        and abs(ours.score - theirs.score) <= allowed.score
        and all(
            abs(getattr(ours.box, e) - getattr(theirs.box, e)) <= box_px for e in edges
        )
    )


def _may_come_and_go(
    finding: pb.Finding, verdict: pb.Verdict, allowed: Tolerances
) -> bool:
    """Tell whether a finding is the least of its answer, at the edge of being kept."""
    least = min(entry.score for entry in verdict.findings)
    return finding.score <= least + allowed.score
