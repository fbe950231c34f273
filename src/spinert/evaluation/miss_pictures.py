"""Draw what was annotated beside what was found."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from spinert.evaluation.cases import Box, LabelledBox
from spinert.evaluation.misses import Miss
from spinert.evaluation.subject import Subject
from spinert.proto import inference_pb2 as pb
from spinert.runtime.errors import SpinertError
from spinert.runtime.report.overlay import overlay
from spinert.runtime.report.pictures import viewed_grey, viewing_pool

__all__ = ["MissPicture", "miss_picture", "miss_pictures"]

_LONGEST_PX: Final = 1000
_QUALITY: Final = 84
_SPARE: Final = 4
_BLACK: Final = (0, 0, 0)
_WHITE: Final = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class MissPicture:
    """A miss with its picture; `jpeg` is None where it cannot be drawn."""

    miss: Miss
    jpeg: bytes | None
    problem: str = ""
    hidden: int = 0
    """Findings that are not drawn: too many would hide the radiograph."""


@dataclass(frozen=True, kw_only=True)
class _Style:
    width: int
    height: int
    line: int
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont


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
    rows, columns = grey.shape
    canvas = overlay(grey, _result(miss, threshold, subject))
    scale = canvas.width / columns
    top = canvas.height - round(rows * scale)
    style = _Style(
        width=canvas.width,
        height=canvas.height,
        line=max(3, round(canvas.height / 300)),
        font=ImageFont.load_default(max(14, round((canvas.height - top) / 60))),
    )
    draw = ImageDraw.Draw(canvas)
    taken: list[Box] = []
    for lesion in miss.case.boxes:
        x_min, y_min, x_max, y_max = (scale * edge for edge in lesion.box)
        place = (x_min, top + y_min, x_max, top + y_max)
        _draw_brackets(draw, place, style.line)
        _draw_label(draw, lesion, place, style, taken)
    canvas.thumbnail((_LONGEST_PX, _LONGEST_PX), Picture.Resampling.LANCZOS)
    buffer = io.BytesIO()
    canvas.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _draw_brackets(draw: ImageDraw.ImageDraw, box: Box, line: int) -> None:
    """Draw the four corners of a box, white with a black rim."""
    left, top, right, bottom = box
    across, down = 0.28 * (right - left), 0.28 * (bottom - top)
    corners = [
        ((left, top + down), (left, top), (left + across, top)),
        ((right - across, top), (right, top), (right, top + down)),
        ((right, bottom - down), (right, bottom), (right - across, bottom)),
        ((left + across, bottom), (left, bottom), (left, bottom - down)),
    ]
    for colour, width in ((_BLACK, line + 4), (_WHITE, line)):
        for corner in corners:
            draw.line(corner, fill=colour, width=width, joint="curve")


def _draw_label(
    draw: ImageDraw.ImageDraw,
    lesion: LabelledBox,
    box: Box,
    style: _Style,
    taken: list[Box],
) -> None:
    """Write below the lower right corner: findings are labelled at the upper left.

    A label that would cover another goes below that one.
    """
    text = f"truth: {lesion.label}"
    _, _, width, height = draw.textbbox((0, 0), text, font=style.font)
    x = min(max(0.0, box[2] - width), max(0.0, style.width - width - 6))
    y = min(box[3] + 3, style.height - height - 6.0)
    place = (x - 2, y, x + width + 4, y + height + 4)
    for other in sorted(taken, key=lambda other: other[1]):
        if _covers(place, other):
            place = (place[0], other[3] + 1, place[2], other[3] + height + 5)
    taken.append(place)
    draw.rectangle(place, fill=_WHITE)
    draw.text((place[0] + 2, place[1]), text, fill=_BLACK, font=style.font)


def _covers(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


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
