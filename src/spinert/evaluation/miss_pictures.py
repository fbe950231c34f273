"""Draw what was annotated beside what was found."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image as Picture

from spinert.evaluation.misses import Miss
from spinert.evaluation.subject import Subject
from spinert.evaluation.truth_drawing import draw_truth
from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import SpinertError
from spinert.runtime.report.overlay import overlay
from spinert.runtime.report.pictures import viewed_grey, viewing_pool

__all__ = ["MissPicture", "miss_picture", "miss_pictures"]

_LONGEST_PX: Final = 1000
_QUALITY: Final = 84
_SPARE: Final = 4


@dataclass(frozen=True, kw_only=True)
class MissPicture:
    """A miss with its picture; `jpeg` is None where it cannot be drawn."""

    miss: Miss
    jpeg: bytes | None
    problem: str = ""
    hidden: int = 0
    """Findings that are not drawn: too many would hide the radiograph."""


def miss_pictures(
    misses: Sequence[Miss],
    threshold: float,
    subject: Subject,
    done: Callable[[], None],
) -> list[MissPicture]:
    """Decode and draw every miss.

    Args:
        misses: Their files are read again.
        threshold: That decided.
        subject: Whose notice and classes the pictures show.
        done: Called once for each.

    Raises:
        SetupError: Nothing can be decoded here.
    """
    if not misses:
        return []
    pictures = []
    with viewing_pool() as pool:
        for miss in misses:
            try:
                grey = viewed_grey(pool, miss.case.path)
            except SpinertError as error:
                problem = f"{error.reason}: {error.message}"
                pictures.append(MissPicture(miss=miss, jpeg=None, problem=problem))
            except OSError as error:
                problem = error.strerror or "the file cannot be read"
                pictures.append(MissPicture(miss=miss, jpeg=None, problem=problem))
            else:
                shown, hidden = _legible(miss)
                jpeg = miss_picture(grey, shown, threshold, subject)
                pictures.append(MissPicture(miss=miss, jpeg=jpeg, hidden=hidden))
            done()
    return pictures


def _legible(miss: Miss) -> tuple[Miss, int]:
    """Keep the best findings: a few more than there are lesions."""
    boxes = sorted(miss.prediction.boxes, key=lambda box: (not box.kept, -box.score))
    shown = tuple(boxes[: len(miss.case.boxes) + _SPARE])
    prediction = replace(miss.prediction, boxes=shown)
    return replace(miss, prediction=prediction), len(boxes) - len(shown)


def miss_picture(
    grey: npt.NDArray[np.uint8], miss: Miss, threshold: float, subject: Subject
) -> bytes:
    """Return a JPEG: findings as an answer shows them, the truth in white brackets.

    Args:
        grey: uint8 (rows, columns).
        miss: Annotation and prediction.
        threshold: That decided.
        subject: Whose notice and classes it shows.
    """
    canvas = overlay(grey, _result(miss, threshold, subject))
    draw_truth(canvas, grey.shape, miss.case.boxes)
    canvas.thumbnail((_LONGEST_PX, _LONGEST_PX), Picture.Resampling.LANCZOS)
    buffer = io.BytesIO()
    canvas.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _result(miss: Miss, threshold: float, subject: Subject) -> pb.Result:
    prediction = miss.prediction
    result = pb.Result()
    result.provenance.notice = subject.notice
    verdict = result.verdict
    verdict.abnormal_probability = prediction.probability
    verdict.threshold = threshold
    verdict.decision = pb.DECISION_NORMAL
    verdict.assessment = pb.ASSESSMENT_NORMAL
    if prediction.abnormal:
        verdict.decision = pb.DECISION_ABNORMAL
        verdict.assessment = pb.ASSESSMENT_ABNORMAL
    for scored in prediction.boxes:
        finding = (verdict.findings if scored.kept else verdict.suppressed).add()
        finding.class_index = subject.classes.index(scored.label)
        finding.class_name = scored.label
        finding.score = scored.score
        x_min, y_min, x_max, y_max = scored.box
        finding.box.CopyFrom(pb.Box(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max))
    return result
