"""Find the expected findings again: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spinert.constancy.deviations import Deviation, Difference, Kind
from spinert.proto import inference_pb2 as pb

__all__ = ["PairedFindings", "paired_findings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedFindings:
    """Expected findings, and what became of them."""

    scores: tuple[Difference, ...]
    deviations: tuple[Deviation, ...]
    found_again: tuple[int, ...]
    """Indices of the expected ones, ascending."""
    unexpected: tuple[pb.Finding, ...]


def paired_findings(
    limits: pb.Constancy,
    expected: Sequence[pb.ConstancyFinding],
    found: Sequence[pb.Finding],
) -> PairedFindings:
    """Find the expected findings again, those of the highest score first.

    One within the tolerance above the floor may have fallen below it, and another
    risen: neither is a deviation.
    """
    must_be_from = limits.finding_floor + limits.score_tolerance
    left = list(range(len(found)))
    scores, deviations, again = [], [], []
    for index in sorted(range(len(expected)), key=lambda i: -expected[i].score):
        wanted = expected[index]
        best = _best_match(wanted, found, left, limits.box_iou_min)
        if best is not None:
            left.remove(best)
            again.append(index)
            scores.append(_score_difference(wanted, found[best]))
        elif wanted.score >= must_be_from:
            text = f"{wanted.class_name} {wanted.score:.2f} was not found again"
            deviations.append(Deviation(kind=Kind.FINDING_MISSING, text=text))
    unexpected = tuple(found[i] for i in left if found[i].score >= must_be_from)
    deviations.extend(
        Deviation(
            kind=Kind.FINDING_UNEXPECTED,
            text=f"{finding.class_name} {finding.score:.2f} is new",
        )
        for finding in unexpected
    )
    return PairedFindings(
        scores=tuple(scores),
        deviations=tuple(deviations),
        found_again=tuple(sorted(again)),
        unexpected=unexpected,
    )


def _best_match(
    wanted: pb.ConstancyFinding,
    found: Sequence[pb.Finding],
    left: Iterable[int],
    iou_min: float,
) -> int | None:
    """Return which of `left` is `wanted`: of its class, of the largest IoU."""
    ious = {
        index: _box_iou(wanted.box, found[index].box)
        for index in left
        if found[index].class_name == wanted.class_name
    }
    best = max(ious, key=ious.__getitem__, default=None)
    return best if best is not None and ious[best] >= iou_min else None


def _score_difference(wanted: pb.ConstancyFinding, found: pb.Finding) -> Difference:
    return Difference(
        kind=Kind.FINDING_SCORE,
        of=f"the score of {wanted.class_name}",
        expected=wanted.score,
        found=found.score,
    )


def _box_iou(a: pb.Box, b: pb.Box) -> float:
    """Return the intersection over union of two boxes; 0 where both are empty."""
    width = min(a.x_max, b.x_max) - max(a.x_min, b.x_min)
    height = min(a.y_max, b.y_max) - max(a.y_min, b.y_min)
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((box.x_max - box.x_min) * (box.y_max - box.y_min) for box in (a, b))
    whole = areas - shared
    return shared / whole if whole > 0 else 0.0
