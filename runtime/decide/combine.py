"""One abnormal probability out of the members of an ensemble."""

from __future__ import annotations

import math
from collections.abc import Sequence

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.verdict import Member

__all__ = ["combined_probability", "members_from_logits", "probability_from_logit"]


def probability_from_logit(logit: float) -> float:
    """Return the logistic sigmoid in float64, exact zero and one at the far ends."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    odds = math.exp(logit)
    return odds / (1.0 + odds)


def members_from_logits(
    names: Sequence[str], logits: Sequence[float]
) -> tuple[Member, ...]:
    """Pair each logit [M] with its member's name and probability of abnormal.

    Raises:
        ValueError: `names` and `logits` differ in length.
    """
    return tuple(
        Member(name=name, logit=logit, probability=probability_from_logit(logit))
        for name, logit in zip(names, map(float, logits), strict=True)
    )


def combined_probability(members: Sequence[Member], rule: pb.Combination) -> float:
    """Return the ensemble's probability of abnormal, in [0, 1].

    The logit mean is that of VinDr-SpineXR's `eval_overall.py`: probabilities
    clipped to [clip, 1 - clip], inverse sigmoid, mean, sigmoid. It is computed on
    clipped logits, the same thing without the rounding of a probability near one.

    Raises:
        ValueError: There is no member, or not one weight for each.
    """
    if not members:
        raise ValueError("an ensemble needs at least one member")
    if rule.rule == pb.COMBINATION_LOGIT_MEAN:
        return probability_from_logit(_clipped_logit_mean(members, rule))
    if rule.rule == pb.COMBINATION_WEIGHTED:
        pairs = zip(rule.weights, members, strict=True)
        return _in_unit_range(math.fsum(w * m.probability for w, m in pairs))
    return math.fsum(m.probability for m in members) / len(members)


def _clipped_logit_mean(members: Sequence[Member], rule: pb.Combination) -> float:
    clip = rule.probability_clip
    limit = math.log1p(-clip) - math.log(clip) if clip > 0 else math.inf
    clipped = (min(max(m.logit, -limit), limit) for m in members)
    return math.fsum(clipped) / len(members)


def _in_unit_range(value: float) -> float:
    """Undo what weights that add up to one only nearly can overshoot."""
    return min(max(value, 0.0), 1.0)
