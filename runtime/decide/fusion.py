"""What classifier and detector say together: decision, band, boxes kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.verdict import Assessment, Decision, Finding

__all__ = [
    "Fused",
    "assessment_of",
    "decision_of",
    "fused",
    "passes",
    "reverse_fusion_score",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fused:
    """The outcome of fusion; `threshold` is the one that decided."""

    decision: Decision
    threshold: float
    assessment: Assessment
    kept: tuple[Finding, ...]
    suppressed: tuple[Finding, ...]
    reverse_fusion_score: float | None


def fused(
    probability: float,
    findings: Sequence[Finding],
    decision: pb.DecisionRule,
    fusion: pb.Fusion,
) -> Fused:
    """Apply the bundle's decision and fusion rules to one frame.

    VinDr-SpineXR (Nguyen et al., MICCAI 2021, section 2.4; `eval_overall.py`): all
    boxes of an abnormal image, only confident ones of a normal image. Reverse
    fusion (same section) lets the mean of `probability` and the best box score
    decide instead, with a threshold of its own.

    Args:
        probability: Abnormal, of the whole ensemble, in [0, 1].
        findings: All boxes of the frame; their order is kept.
        decision: Threshold, its comparison, and the UNCERTAIN band.
        fusion: Which boxes a decision keeps.
    """
    score, threshold = probability, decision.threshold
    reverse = None
    if fusion.HasField("reverse"):
        reverse = reverse_fusion_score(probability, findings, fusion.reverse)
        score, threshold = reverse, fusion.reverse.threshold
    decided = decision_of(score, threshold, decision.comparison)
    keeps = [_keeps(f, decided, fusion) for f in findings]
    return Fused(
        decision=decided,
        threshold=threshold,
        assessment=assessment_of(probability, decided, decision),
        kept=tuple(f for f, keep in zip(findings, keeps, strict=True) if keep),
        suppressed=tuple(
            f for f, keep in zip(findings, keeps, strict=True) if not keep
        ),
        reverse_fusion_score=reverse,
    )


def passes(value: float, threshold: float, comparison: pb.Comparison) -> bool:
    """Compare as the bundle says: the code uses `>=` where the paper says above."""
    if comparison == pb.GREATER:
        return value > threshold
    return value >= threshold


def decision_of(score: float, threshold: float, comparison: pb.Comparison) -> Decision:
    """Return ABNORMAL where `score` passes `threshold`, else NORMAL."""
    if passes(score, threshold, comparison):
        return Decision.ABNORMAL
    return Decision.NORMAL


def assessment_of(
    probability: float, decision: Decision, rule: pb.DecisionRule
) -> Assessment:
    """Return UNCERTAIN where uncertain_from <= p < uncertain_to, else `decision`.

    The band is on the classifier's probability, also where reverse fusion decides.
    """
    if rule.uncertain_from <= probability < rule.uncertain_to:
        return Assessment.UNCERTAIN
    return Assessment(decision.value)


def reverse_fusion_score(
    probability: float, findings: Sequence[Finding], rule: pb.ReverseFusion
) -> float:
    """Return (p + highest box score) / 2, before any box is suppressed."""
    best = max((f.score for f in findings), default=rule.no_box_score)
    return (probability + best) / 2


def _keeps(finding: Finding, decision: Decision, rule: pb.Fusion) -> bool:
    if rule.rule == pb.FUSION_NONE or decision is Decision.ABNORMAL:
        return True
    if rule.rule == pb.FUSION_HARD_CASCADE:
        return False
    return passes(finding.score, rule.low_confidence_cutoff, rule.comparison)
