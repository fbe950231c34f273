"""Draw what is there over what was found: white brackets on an answer's picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from spinert.evaluation.cases import Box, LabelledBox

__all__ = ["draw_truth"]

_BLACK: Final = (0, 0, 0)
_WHITE: Final = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class _Style:
    width: int
    height: int
    line: int
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_truth(
    canvas: Picture.Image, shape: tuple[int, ...], lesions: Sequence[LabelledBox]
) -> None:
    """Draw annotated lesions into a picture that `overlay` made.

    Args:
        canvas: RGB: the banner, and below it the image, scaled.
        shape: (rows, columns) of the image itself.
        lesions: In its pixels.
    """
    rows, columns = shape
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
    for lesion in lesions:
        x_min, y_min, x_max, y_max = (scale * edge for edge in lesion.box)
        place = (x_min, top + y_min, x_max, top + y_max)
        _draw_brackets(draw, place, style.line)
        _draw_label(draw, lesion, place, style, taken)


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
