"""All figures of one evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from spinert.evaluation.annotations import Annotations
from spinert.evaluation.bootstrap import Bootstrap
from spinert.evaluation.calibration import Calibration, calibration_of
from spinert.evaluation.classification import ClassificationRow, classification_table
from spinert.evaluation.curves import (
    PrecisionRecallCurve,
    RocCurve,
    precision_recall_of,
    roc_of,
)
from spinert.evaluation.deciding import (
    Choice,
    ChosenBy,
    Operating,
    operating_from,
    prediction_at_threshold,
)
from spinert.evaluation.detection import DetectionTable, detection_table
from spinert.evaluation.errors import PredictionError
from spinert.evaluation.froc import FrocCurve, froc_of
from spinert.evaluation.fusion_sweep import FusionSweep, fusion_sweep
from spinert.evaluation.matching import matches_of
from spinert.evaluation.pairs import Pairs, paired
from spinert.evaluation.records import Unanswered
from spinert.evaluation.reverse_fusion import ReverseFusion, reverse_fusion
from spinert.evaluation.running import Run
from spinert.evaluation.subject import Subject

__all__ = ["DETECTION_RESAMPLES", "Evaluation", "detection_bootstrap", "evaluated"]

DETECTION_RESAMPLES: Final = 1000
"""Of mAP, which is dearer than AUROC; fewer where fewer were asked for."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a report is made of; figures are of the images in `pairs`."""

    subject: Subject
    split: str
    table: str
    """File name of the annotations."""
    annotations: Annotations
    unanswered: tuple[Unanswered, ...]
    continued: int
    """Answers of an earlier run."""
    pairs: Pairs
    """As decided at `operating`."""
    operating: Operating
    bootstrap: Bootstrap
    classification: tuple[ClassificationRow, ...]
    """Each member, then the ensemble; the ensemble alone where there is one."""
    rocs: tuple[RocCurve | None, ...]
    """Of the same rows."""
    precision_recall: PrecisionRecallCurve | None
    calibration: Calibration
    detector: DetectionTable
    framework: DetectionTable
    frocs: tuple[FrocCurve, ...]
    """Of the detector: each class, then all."""
    sweep: FusionSweep | None
    reverse: ReverseFusion


def evaluated(
    annotations: Annotations,
    run: Run,
    choice: Choice,
    bootstrap: Bootstrap,
    *,
    split: str,
    table: str,
) -> Evaluation:
    """Measure everything.

    Args:
        annotations: The truth.
        run: What was answered for it.
        choice: Of the threshold.
        bootstrap: For all intervals.
        split: Its name.
        table: File name of the annotations.

    Raises:
        PredictionError: Not one image was answered.
        SplitError: The threshold that was asked for cannot be had.
    """
    subject = run.subject
    pairs, operating = _decided(annotations, run, choice)
    members = pairs.members.T if len(subject.members) > 1 else ()
    matches = matches_of(pairs, subject.classes)
    dear = detection_bootstrap(bootstrap)
    return Evaluation(
        subject=subject,
        split=split,
        table=table,
        annotations=annotations,
        unanswered=run.unanswered,
        continued=run.continued,
        pairs=pairs,
        operating=operating,
        bootstrap=bootstrap,
        classification=classification_table(
            pairs,
            member_names=subject.members,
            threshold=operating.threshold,
            inclusive=operating.inclusive,
            bootstrap=bootstrap,
        ),
        rocs=(*(roc_of(pairs, column) for column in members), roc_of(pairs)),
        precision_recall=precision_recall_of(pairs),
        calibration=calibration_of(pairs),
        detector=detection_table(
            pairs,
            subject.classes,
            name="Detector only",
            kept_only=False,
            bootstrap=dear,
        ),
        framework=detection_table(
            pairs,
            subject.classes,
            name="Whole framework",
            kept_only=True,
            bootstrap=dear,
        ),
        frocs=froc_of(matches),
        sweep=fusion_sweep(pairs, subject.classes),
        reverse=reverse_fusion(pairs, bootstrap=bootstrap),
    )


def detection_bootstrap(bootstrap: Bootstrap) -> Bootstrap:
    """Return how intervals of mAP are drawn."""
    return replace(bootstrap, resamples=min(bootstrap.resamples, DETECTION_RESAMPLES))


def _decided(
    annotations: Annotations, run: Run, choice: Choice
) -> tuple[Pairs, Operating]:
    answers = run.answered
    if not answers:
        reasons = ", ".join(sorted({o.reason for o in run.unanswered}))
        raise PredictionError(
            f"not one of {len(run.unanswered)} images was answered ({reasons}); look "
            "at one with `spinert analyze`"
        )
    pairs, _ = paired(annotations.cases, [answer.prediction for answer in answers])
    rules = run.subject.rules
    operating = operating_from(choice, rules, answers, pairs)
    if choice.by is ChosenBy.BUNDLE or rules is None:
        return pairs, operating
    predictions = tuple(
        prediction_at_threshold(prediction, operating, rules)
        for prediction in pairs.predictions
    )
    return replace(pairs, predictions=predictions), operating
