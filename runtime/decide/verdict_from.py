"""Put a verdict together from what the networks said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.bundle import CLASSIFIER, DETECTOR
from spinert.runtime.decide.candidates import (
    Candidates,
    Geometry,
    findings_from_candidates,
)
from spinert.runtime.decide.combine import combined_probability, members_from_logits
from spinert.runtime.decide.fusion import fused
from spinert.runtime.image import Note, Spacing
from spinert.runtime.verdict import Assessment, Decision, Finding, Output, Verdict

__all__ = ["Evidence", "needed_networks", "verdict_from_evidence"]

_BOXES = frozenset({Output.FINDINGS, Output.SUPPRESSED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that is known of one frame once its networks have run."""

    rows: int
    columns: int
    spacing: Spacing | None
    notes: frozenset[Note]
    logits: Sequence[float] | None
    """[M] of the classifier; None when it did not have to run."""
    candidates: Candidates | None
    """Of the detector; None when it did not have to run."""
    rows_per_pixel: float = 1.0
    """Of the detector's input, see `Geometry`; unused without candidates."""
    columns_per_pixel: float = 1.0


def needed_networks(outputs: frozenset[Output], spec: pb.Bundle) -> tuple[str, ...]:
    """Return the roles that have to run for `outputs`, classifier first.

    Boxes need the classifier because fusion suppresses some by its decision; the
    decision needs the detector only where reverse fusion makes it.
    """
    wants_boxes = bool(outputs & _BOXES)
    wants_class = Output.CLASSIFICATION in outputs
    has_reverse = spec.fusion.HasField("reverse")
    fuses = spec.fusion.rule != pb.FUSION_NONE
    needed = []
    if wants_class or (wants_boxes and fuses):
        needed.append(CLASSIFIER)
        wants_boxes = wants_boxes or has_reverse
    if wants_boxes:
        needed.append(DETECTOR)
    return tuple(needed)


def verdict_from_evidence(
    evidence: Evidence, spec: pb.Bundle, outputs: frozenset[Output]
) -> Verdict:
    """Combine, decide and fuse; parts outside `outputs` stay empty.

    Raises:
        ValueError: `evidence` lacks a network that `outputs` need.
    """
    needed = needed_networks(outputs, spec)
    findings: tuple[Finding, ...] = ()
    if DETECTOR in needed:
        findings = _findings(evidence, spec)
    if CLASSIFIER not in needed:
        return _without_classification(evidence, findings, outputs)
    if evidence.logits is None:
        raise ValueError("the classifier has not run")
    members = members_from_logits(
        spec.networks[CLASSIFIER].members, list(evidence.logits)
    )
    probability = combined_probability(members, spec.combination)
    outcome = fused(probability, findings, spec.decision, spec.fusion)
    boxes = _without_classification(evidence, outcome.kept, outputs)
    if Output.SUPPRESSED in outputs:
        boxes = replace(boxes, suppressed=outcome.suppressed)
    if Output.CLASSIFICATION not in outputs:
        return boxes
    return replace(
        boxes,
        abnormal_probability=probability,
        members=members,
        decision=outcome.decision,
        threshold=outcome.threshold,
        assessment=outcome.assessment,
        reverse_fusion_score=outcome.reverse_fusion_score,
    )


def _findings(evidence: Evidence, spec: pb.Bundle) -> tuple[Finding, ...]:
    if evidence.candidates is None:
        raise ValueError("the detector has not run")
    geometry = Geometry(
        rows=evidence.rows,
        columns=evidence.columns,
        rows_per_pixel=evidence.rows_per_pixel,
        columns_per_pixel=evidence.columns_per_pixel,
        spacing=evidence.spacing,
    )
    return findings_from_candidates(
        evidence.candidates, spec.networks[DETECTOR].detection, geometry
    )


def _without_classification(
    evidence: Evidence, kept: tuple[Finding, ...], outputs: frozenset[Output]
) -> Verdict:
    return Verdict(
        abnormal_probability=0.0,
        members=(),
        decision=Decision.UNSPECIFIED,
        threshold=0.0,
        assessment=Assessment.UNSPECIFIED,
        findings=kept if Output.FINDINGS in outputs else (),
        suppressed=(),
        notes=evidence.notes,
        reverse_fusion_score=None,
        rows=evidence.rows,
        columns=evidence.columns,
    )
