"""The worst frame of each study so far, over the answers of one stream."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from spinert.runtime.verdict import Assessment, Decision, Verdict

__all__ = ["StudySummary", "StudyTally", "with_frame"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySummary:
    """How a study stands after `frames` answers.

    Probability, decision and assessment are those of its worst frame.
    """

    study_uid: str
    """(0020,000D), for grouping and the reply only: never log it."""
    frames: int
    worst_frame_id: str
    worst_sequence: int
    abnormal_probability: float
    decision: Decision
    assessment: Assessment
    worst_score: float
    """What the worst frame was decided by: reverse fusion score or probability."""


def with_frame(
    study: StudySummary, frame_id: str, sequence: int, verdict: Verdict
) -> StudySummary:
    """Return `study` with one more frame.

    A frame is worse when it is ABNORMAL and the other is not, then by the score
    that decided; among equals the first stays. A frame that was answered without
    a classification counts, and never replaces one that has it.
    """
    frame = StudySummary(
        study_uid=study.study_uid,
        frames=study.frames + 1,
        worst_frame_id=frame_id,
        worst_sequence=sequence,
        abnormal_probability=verdict.abnormal_probability,
        decision=verdict.decision,
        assessment=verdict.assessment,
        worst_score=_deciding_score(verdict),
    )
    if not study.frames or _badness(frame) > _badness(study):
        return frame
    return replace(study, frames=frame.frames)


def _deciding_score(verdict: Verdict) -> float:
    if verdict.reverse_fusion_score is not None:
        return verdict.reverse_fusion_score
    return verdict.abnormal_probability


def _badness(study: StudySummary) -> tuple[int, float]:
    # Decision's values are ordered: not asked for, normal, abnormal.
    return study.decision.value, study.worst_score


class StudyTally:
    """Studies seen on one stream; for use by one thread.

    A study UID identifies a patient: it is held in memory only, and at most
    `max_studies` of them, the least recently seen one forgotten first.
    """

    def __init__(self, max_studies: int = 64) -> None:
        """Start without studies."""
        self._max_studies = max_studies
        self._studies: OrderedDict[str, StudySummary] = OrderedDict()

    def add(
        self, study_uid: str, frame_id: str, sequence: int, verdict: Verdict
    ) -> StudySummary | None:
        """Count an answered frame; None where it belongs to no study."""
        if not study_uid:
            return None
        study = self._studies.pop(study_uid, None) or _empty(study_uid)
        self._studies[study_uid] = with_frame(study, frame_id, sequence, verdict)
        if len(self._studies) > self._max_studies:
            self._studies.popitem(last=False)
        return self._studies[study_uid]


def _empty(study_uid: str) -> StudySummary:
    return StudySummary(
        study_uid=study_uid,
        frames=0,
        worst_frame_id="",
        worst_sequence=0,
        abnormal_probability=0.0,
        decision=Decision.UNSPECIFIED,
        assessment=Assessment.UNSPECIFIED,
        worst_score=0.0,
    )
