"""An evaluation against stored predictions of something else on the same images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spinert.evaluation.cases import Prediction
from spinert.evaluation.comparison import Comparison, compared
from spinert.evaluation.deciding import ChosenBy, prediction_at_threshold
from spinert.evaluation.errors import PredictionError
from spinert.evaluation.evaluating import Evaluation, detection_bootstrap
from spinert.evaluation.pairs import Pairs
from spinert.evaluation.records import Answered, Outcome
from spinert.evaluation.running import Run
from spinert.evaluation.subject import Subject

__all__ = ["Versus", "versus"]


@dataclass(frozen=True, kw_only=True)
class Versus:
    """B, against the evaluation, which is A."""

    subject: Subject
    """Of B."""
    images: int
    """Both have an answer for."""
    left_out: int
    """Only A has an answer for, or whose file was another for B."""
    comparison: Comparison


def versus(
    found: Evaluation, run: Run, subject: Subject, outcomes: Mapping[str, Outcome]
) -> Versus:
    """Compare on the images that both answered.

    Where the evaluation was decided at a threshold of its own, so is B.

    Args:
        found: A.
        run: What `found` was measured on.
        subject: Of B.
        outcomes: Of B, by image id.

    Raises:
        PredictionError: The two have other classes or no image in common, the cut-off
            of findings is not known, or B cannot be decided at A's threshold.
    """
    if subject.classes != found.subject.classes:
        raise PredictionError(
            f"the predictions of {subject.bundle_name} are of other classes; compare "
            "bundles with the same ones"
        )
    if found.operating.cutoff is None:
        raise PredictionError(
            "a comparison needs the cut-off of the bundle: name it with --bundle "
            "beside --server"
        )
    mine, theirs = _shared(found, run, subject, outcomes)
    return Versus(
        subject=subject,
        images=len(mine),
        left_out=len(found.pairs) - len(mine),
        comparison=compared(
            mine,
            theirs,
            found.subject.classes,
            cutoff=found.operating.cutoff,
            bootstrap=found.bootstrap,
            detection_bootstrap=detection_bootstrap(found.bootstrap),
        ),
    )


def _shared(
    found: Evaluation, run: Run, subject: Subject, outcomes: Mapping[str, Outcome]
) -> tuple[Pairs, Pairs]:
    files = {answer.image_id: answer.sha256 for answer in run.answered}
    shared = []
    for case, prediction in zip(
        found.pairs.cases, found.pairs.predictions, strict=True
    ):
        other = outcomes.get(case.image_id)
        is_same = isinstance(other, Answered) and other.sha256 == files[case.image_id]
        if isinstance(other, Answered) and is_same:
            shared.append((case, prediction, _decided(found, subject, other)))
    if not shared:
        raise PredictionError("the two sets of predictions have no image in common")
    cases, mine, theirs = zip(*shared, strict=True)
    return Pairs(cases=cases, predictions=mine), Pairs(cases=cases, predictions=theirs)


def _decided(found: Evaluation, subject: Subject, other: Answered) -> Prediction:
    if found.operating.by is ChosenBy.BUNDLE:
        return other.prediction
    if subject.rules is None:
        raise PredictionError(
            "the predictions to compare with are a server's, whose fusion rule is not "
            "known: leave --threshold out, or evaluate that server with --bundle too"
        )
    return prediction_at_threshold(other.prediction, found.operating, subject.rules)
