"""Decide stored predictions again, at another threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, unique

from spinert.evaluation.cases import Prediction, ScoredBox
from spinert.evaluation.errors import SplitError
from spinert.evaluation.pairs import Pairs
from spinert.evaluation.records import Answered
from spinert.evaluation.subject import Rules
from spinert.evaluation.thresholds import youden_threshold
from spinert.proto import bundle_pb2
from spinert.runtime.decide.fusion import fused
from spinert.runtime.verdict import Box, Decision, Finding

__all__ = [
    "Choice",
    "ChosenBy",
    "Operating",
    "operating_from",
    "prediction_at_threshold",
]


@unique
class ChosenBy(StrEnum):
    """Where the threshold comes from."""

    BUNDLE = "the bundle"
    CALLER = "the command line"
    YOUDEN = "Youden's index on these images"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the command line says of the threshold."""

    by: ChosenBy
    threshold: float = 0.0
    """By the caller only."""


@dataclass(frozen=True, kw_only=True)
class Operating:
    """Where images are decided."""

    threshold: float
    """Of the ensemble's probability."""
    inclusive: bool
    """A probability equal to it is abnormal."""
    by: ChosenBy
    cutoff: float | None
    """Of findings in normal images; None: not known of a server."""


def operating_from(
    choice: Choice, rules: Rules | None, answers: Sequence[Answered], pairs: Pairs
) -> Operating:
    """Return where the images are decided.

    Args:
        choice: What was asked for.
        rules: Of the bundle; None: a server's, whose bundle is not at hand.
        answers: As they came.
        pairs: The same with their annotations.

    Raises:
        SplitError: Nothing decides so: no threshold separates the images, or the rules
            are needed and not at hand.
    """
    cutoff = None if rules is None else rules.fusion.low_confidence_cutoff
    if choice.by is ChosenBy.BUNDLE:
        threshold, inclusive = _of_the_bundle(rules, answers)
        return Operating(
            threshold=threshold, inclusive=inclusive, by=choice.by, cutoff=cutoff
        )
    if rules is None:
        raise SplitError(
            "another threshold needs the fusion rule of the bundle: name it with "
            "--bundle beside --server"
        )
    if rules.fusion.HasField("reverse"):
        raise SplitError(
            "this bundle decides by reverse fusion, not by a threshold of the "
            "probability; leave --threshold out"
        )
    found = choice.threshold
    if choice.by is ChosenBy.YOUDEN:
        best = youden_threshold(pairs.truth, pairs.probabilities)
        if best is None:
            raise SplitError(
                "no threshold of Youden's index is better than chance here, or all "
                "images are of one kind; give a number with --threshold"
            )
        found = best
    inclusive = (
        choice.by is ChosenBy.YOUDEN or rules.decision.comparison != bundle_pb2.GREATER
    )
    return Operating(threshold=found, inclusive=inclusive, by=choice.by, cutoff=cutoff)


def prediction_at_threshold(
    prediction: Prediction, operating: Operating, rules: Rules
) -> Prediction:
    """Return `prediction` as the runtime would have decided it at another threshold."""
    decision = bundle_pb2.DecisionRule()
    decision.CopyFrom(rules.decision)
    decision.threshold = operating.threshold
    decision.comparison = (
        bundle_pb2.GREATER_OR_EQUAL if operating.inclusive else bundle_pb2.GREATER
    )
    # The position stands for the class: only scores decide.
    findings = [_finding(i, box) for i, box in enumerate(prediction.boxes)]
    outcome = fused(prediction.probability, findings, decision, rules.fusion)
    kept = {finding.class_index for finding in outcome.kept}
    return replace(
        prediction,
        abnormal=outcome.decision is Decision.ABNORMAL,
        boxes=tuple(
            replace(box, kept=i in kept) for i, box in enumerate(prediction.boxes)
        ),
    )


def _of_the_bundle(
    rules: Rules | None, answers: Sequence[Answered]
) -> tuple[float, bool]:
    if rules is not None:
        inclusive = rules.decision.comparison != bundle_pb2.GREATER
        return rules.decision.threshold, inclusive
    if any(answer.is_reverse for answer in answers):
        raise SplitError(
            "the server decides by reverse fusion and does not say the classifier's "
            "threshold: name its bundle with --bundle beside --server"
        )
    thresholds = {answer.threshold for answer in answers}
    if len(thresholds) > 1:
        raise SplitError("the answers were decided at different thresholds; run again")
    threshold = thresholds.pop()
    return threshold, not _is_strict(threshold, answers)


def _is_strict(threshold: float, answers: Sequence[Answered]) -> bool:
    """Tell whether an answer right at the threshold was called normal."""
    on_it = [a for a in answers if a.prediction.probability == threshold]
    return bool(on_it) and not any(a.prediction.abnormal for a in on_it)


def _finding(position: int, box: ScoredBox) -> Finding:
    x_min, y_min, x_max, y_max = box.box
    return Finding(
        class_index=position,
        score=box.score,
        box=Box(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max),
    )
