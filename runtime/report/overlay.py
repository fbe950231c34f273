"""Draw a verdict on its radiograph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from spinert.proto import inference_pb2 as pb

__all__ = ["overlay"]

# The qualitative palette of Okabe and Ito: distinct on grey, and for most
# people with a colour vision deficiency.
_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (100, 143, 255),
)
_WORDS = {
    pb.DECISION_NORMAL: "NORMAL",
    pb.DECISION_ABNORMAL: "ABNORMAL",
    pb.DECISION_UNSPECIFIED: "NOT CLASSIFIED",
}
_BANNERS = {
    pb.ASSESSMENT_NORMAL: (0, 120, 80),
    pb.ASSESSMENT_ABNORMAL: (190, 60, 0),
    pb.ASSESSMENT_UNCERTAIN: (150, 110, 0),
    pb.ASSESSMENT_UNSPECIFIED: (90, 90, 90),
}
_Rectangle = tuple[float, float, float, float]
_LONGEST_PX = 1600
_LONG_ENOUGH_PX = 900
_WIDE_ENOUGH_PX = 500
# More boxes than this hide the radiograph; the banner says how many there are.
_DRAWN = 12
_DRAWN_SUPPRESSED = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class _Style:
    scale: float
    line: int
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont


def overlay(grey: npt.NDArray[np.uint8], result: pb.Result) -> Picture.Image:
    """Return the radiograph with boxes, class names, scores and the decision.

    Small images are enlarged and large ones reduced, so that the text stays
    readable and the file handy. The best findings are drawn, and dashed the best
    of those that the fusion rule removed; the banner counts all of them.

    Args:
        grey: What the networks saw before resizing, uint8 (rows, columns).
        result: The answer for that image.
    """
    rows, columns = grey.shape
    longest, shortest = max(rows, columns), min(rows, columns)
    wanted = max(1.0, _LONG_ENOUGH_PX / longest, _WIDE_ENOUGH_PX / shortest)
    scale = min(wanted, _LONGEST_PX / longest)
    size = (round(columns * scale), round(rows * scale))
    picture = Picture.fromarray(grey).resize(size, Picture.Resampling.LANCZOS)
    text_px = max(14, round(max(size) / 60))
    style = _Style(
        scale=scale,
        line=max(2, round(max(size) / 450)),
        font=ImageFont.load_default(text_px),
    )
    canvas = picture.convert("RGB")
    draw = ImageDraw.Draw(canvas)
    kept = _best(result.verdict.findings, _DRAWN)
    suppressed = _best(result.verdict.suppressed, _DRAWN_SUPPRESSED)
    for finding in suppressed:
        _draw_box(draw, finding, style, dashed=True)
    for finding in kept:
        _draw_box(draw, finding, style, dashed=False)
    labels = [*((f, True) for f in kept), *((f, False) for f in suppressed)]
    _draw_labels(draw, labels, style, canvas.size)
    return _with_banner(canvas, result, style)


def _draw_box(
    draw: ImageDraw.ImageDraw, finding: pb.Finding, style: _Style, *, dashed: bool
) -> None:
    colour = _colour(finding)
    box = _scaled(finding.box, style.scale)
    if not dashed:
        draw.rectangle(box, outline=colour, width=style.line)
        return
    for start, end in _dashes(box, 5 * style.line):
        draw.line((*start, *end), fill=colour, width=style.line)


def _best(findings: Iterable[pb.Finding], count: int) -> list[pb.Finding]:
    return sorted(findings, key=lambda f: -f.score)[:count]


def _draw_labels(
    draw: ImageDraw.ImageDraw,
    labels: Iterable[tuple[pb.Finding, bool]],
    style: _Style,
    size: tuple[int, int],
) -> None:
    """Label (finding, is kept), best first, where no label stands yet."""
    taken: list[_Rectangle] = []
    for finding, is_kept in labels:
        text = f"{finding.class_name} {finding.score:.2f}"
        _, _, width, height = draw.textbbox((0, 0), text, font=style.font)
        extent = (width + 2 * style.line, height + 2 * style.line)
        place = _free_place(_scaled(finding.box, style.scale), extent, size, taken)
        if place is None:
            continue
        taken.append(place)
        colour = _colour(finding)
        fill = colour if is_kept else (0, 0, 0)
        draw.rectangle(place, fill=fill, outline=colour, width=2)
        corner = (place[0] + style.line, place[1] + style.line)
        ink = (0, 0, 0) if is_kept else colour
        draw.text(corner, text, fill=ink, font=style.font)


def _free_place(
    box: _Rectangle,
    extent: tuple[float, float],
    size: tuple[int, int],
    taken: list[_Rectangle],
) -> _Rectangle | None:
    """Return where a label fits: above, in, or below its box; None if nowhere."""
    width, height = extent
    left = min(max(0.0, box[0]), max(0.0, size[0] - width))
    for top in (box[1] - height, box[1], box[3] - height, box[3]):
        place = (left, top, left + width, top + height)
        inside = top >= 0 and place[3] <= size[1]
        if inside and not any(_overlap(place, other) for other in taken):
            return place
    return None


def _overlap(a: _Rectangle, b: _Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _scaled(box: pb.Box, scale: float) -> _Rectangle:
    edges = (box.x_min, box.y_min, box.x_max, box.y_max)
    left, top, right, bottom = (edge * scale for edge in edges)
    return left, top, right, bottom


def _colour(finding: pb.Finding) -> tuple[int, int, int]:
    return _COLOURS[finding.class_index % len(_COLOURS)]


def _dashes(
    box: _Rectangle, length: int
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    left, top, right, bottom = box
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    for (x0, y0), (x1, y1) in pairwise(corners):
        distance = max(abs(x1 - x0), abs(y1 - y0))
        if distance == 0:
            continue
        dx, dy = (x1 - x0) / distance, (y1 - y0) / distance
        for start in np.arange(0, distance, 2 * length):
            end = min(start + length, distance)
            yield (
                (x0 + dx * start, y0 + dy * start),
                (x0 + dx * end, y0 + dy * end),
            )


def _with_banner(
    picture: Picture.Image, result: pb.Result, style: _Style
) -> Picture.Image:
    verdict = result.verdict
    word, colour = _WORDS[verdict.decision], _BANNERS[verdict.assessment]
    if verdict.assessment == pb.ASSESSMENT_UNCERTAIN:
        word += " (UNCERTAIN)"
    lines = [f"{word}   p(abnormal) {verdict.abnormal_probability:.3f}"]
    lines.append(f"threshold {verdict.threshold:.2f}   {_counts(verdict)}")
    lines.append("Research use only: not a medical device")
    if notice := result.provenance.notice:
        lines.append(notice)
    text = "\n".join(_wrapped(lines, style, picture.width))
    probe = ImageDraw.Draw(picture)
    _, _, _, height = probe.multiline_textbbox((0, 0), text, font=style.font)
    margin = 4 * style.line
    banner = round(height) + 2 * margin
    framed = Picture.new("RGB", (picture.width, picture.height + banner), colour)
    framed.paste(picture, (0, banner))
    ImageDraw.Draw(framed).multiline_text(
        (margin, margin), text, fill=(255, 255, 255), font=style.font
    )
    return framed


def _counts(verdict: pb.Verdict) -> str:
    kept, suppressed = len(verdict.findings), len(verdict.suppressed)
    told = f"findings {kept}"
    if kept > _DRAWN:
        told += f" (best {_DRAWN} drawn)"
    if suppressed:
        drawn = min(suppressed, _DRAWN_SUPPRESSED)
        told += f", suppressed {suppressed} (best {drawn} dashed)"
    return told


def _wrapped(lines: list[str], style: _Style, width: int) -> Iterator[str]:
    """Break lines at spaces so that each fits into `width` pixels."""
    limit = width - 8 * style.line
    for line in lines:
        current = ""
        for word in line.split(" "):
            longer = f"{current} {word}" if current else word
            if current and style.font.getlength(longer) > limit:
                yield current
                longer = word
            current = longer
        yield current
