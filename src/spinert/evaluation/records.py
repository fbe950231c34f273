"""What became of one image, and how that is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spinert.evaluation.cases import Prediction, ScoredBox
from spinert.proto import inference_pb2 as pb

__all__ = [
    "Answered",
    "Outcome",
    "Unanswered",
    "answered_from_result",
    "json_from_outcome",
    "outcome_from_json",
]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An image with its prediction."""

    image_id: str
    split: str
    sha256: str
    """Of the image file."""
    rows: int
    columns: int
    threshold: float
    """That decided, as the answer says."""
    is_reverse: bool
    """The threshold is of reverse fusion's score, not of the probability."""
    prediction: Prediction


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """An image without a prediction, and why."""

    image_id: str
    split: str
    reason: str
    """Stable code: a member of runtime.errors.Reason, or UNREADABLE."""
    message: str
    is_refusal: bool
    """The image was judged; False: the next run may do better."""


Outcome = Answered | Unanswered


def answered_from_result(
    result: pb.Result, *, image_id: str, split: str, sha256: str
) -> Answered:
    """Keep of an answer what is evaluated; nothing else of the image goes along.

    Args:
        result: An answer with classification, findings and suppressed findings.
        image_id: The annotation table's name of the image.
        split: Which split it was asked for.
        sha256: Of the file.
    """
    verdict = result.verdict
    boxes = [_box(finding, kept=True) for finding in verdict.findings]
    boxes += [_box(finding, kept=False) for finding in verdict.suppressed]
    return Answered(
        image_id=image_id,
        split=split,
        sha256=sha256,
        rows=verdict.rows,
        columns=verdict.columns,
        threshold=verdict.threshold,
        is_reverse=verdict.HasField("reverse_fusion_score"),
        prediction=Prediction(
            image_id=image_id,
            members=tuple(member.probability for member in verdict.members),
            probability=verdict.abnormal_probability,
            abnormal=verdict.decision == pb.DECISION_ABNORMAL,
            boxes=tuple(boxes),
        ),
    )


def _box(finding: pb.Finding, *, kept: bool) -> ScoredBox:
    box = finding.box
    return ScoredBox(
        label=finding.class_name,
        box=(box.x_min, box.y_min, box.x_max, box.y_max),
        score=finding.score,
        kept=kept,
    )


def json_from_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return JSON values; floats survive exactly."""
    known = {"image_id": outcome.image_id, "split": outcome.split}
    if isinstance(outcome, Unanswered):
        return known | {
            "reason": outcome.reason,
            "message": outcome.message,
            "is_refusal": outcome.is_refusal,
        }
    prediction = outcome.prediction
    return known | {
        "sha256": outcome.sha256,
        "rows": outcome.rows,
        "columns": outcome.columns,
        "threshold": outcome.threshold,
        "is_reverse": outcome.is_reverse,
        "members": list(prediction.members),
        "probability": prediction.probability,
        "abnormal": prediction.abnormal,
        "boxes": [[b.label, *b.box, b.score, b.kept] for b in prediction.boxes],
    }


def outcome_from_json(values: dict[str, Any]) -> Outcome:
    """Read what `json_from_outcome` wrote.

    Raises:
        KeyError: A value is missing.
        TypeError: One is of another kind.
        ValueError: One is out of shape.
    """
    if "reason" in values:
        return Unanswered(
            image_id=str(values["image_id"]),
            split=str(values["split"]),
            reason=str(values["reason"]),
            message=str(values["message"]),
            is_refusal=bool(values["is_refusal"]),
        )
    return Answered(
        image_id=str(values["image_id"]),
        split=str(values["split"]),
        sha256=str(values["sha256"]),
        rows=int(values["rows"]),
        columns=int(values["columns"]),
        threshold=float(values["threshold"]),
        is_reverse=bool(values["is_reverse"]),
        prediction=Prediction(
            image_id=str(values["image_id"]),
            members=tuple(map(float, values["members"])),
            probability=float(values["probability"]),
            abnormal=bool(values["abnormal"]),
            boxes=tuple(_box_from_json(*entry) for entry in values["boxes"]),
        ),
    )


def _box_from_json(
    label: str, x_min: float, y_min: float, x_max: float, y_max: float, *rest: Any
) -> ScoredBox:
    score, kept = rest
    return ScoredBox(
        label=str(label),
        box=(float(x_min), float(y_min), float(x_max), float(y_max)),
        score=float(score),
        kept=bool(kept),
    )
