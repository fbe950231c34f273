"""Small pictures of phantoms with what was found again, missed or new."""

from __future__ import annotations

import base64
import io
from typing import Final

from PIL import Image as Picture
from PIL import ImageDraw

from spinert.constancy.judging import CaseReport
from spinert.phantom.truth import Phantom
from spinert.proto import bundle_pb2
from spinert.proto import inference_pb2 as pb
from spinert.runtime.image import Image, Photometric, Window
from spinert.runtime.preprocess.grey import grey_from_image

__all__ = ["AGAIN", "MISSING", "NEW", "data_url_from_case"]

AGAIN: Final = "#2fbf9b"
MISSING: Final = "#ff7a3d"
NEW: Final = "#f05fd0"
"""Colours: distinct on grey, and with most colour vision deficiencies."""

_LONG_EDGE_PX: Final = 300
_QUALITY: Final = 72
_LINE_PX: Final = 2
_GREY_RULE: Final = bundle_pb2.GreyRule(
    voi=bundle_pb2.VOI_LUT_THEN_WINDOW,
    invert_monochrome1=True,
    constant_image=bundle_pb2.CONSTANT_IMAGE_ZERO,
)


def data_url_from_case(case: CaseReport) -> str:
    """Return a JPEG of the phantom, as a URL that holds it."""
    picture, scale = _small(case.asked.phantom)
    draw = ImageDraw.Draw(picture)
    for index, finding in enumerate(case.expected.findings):
        is_again = index in case.found_again
        colour = AGAIN if is_again else MISSING
        draw.rectangle(_place(finding.box, scale), outline=colour, width=_LINE_PX)
        if not is_again:
            left, top, right, bottom = _place(finding.box, scale)
            draw.line((left, top, right, bottom), fill=colour, width=1)
    for new in case.unexpected:
        draw.rectangle(_place(new.box, scale), outline=NEW, width=_LINE_PX)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _small(phantom: Phantom) -> tuple[Picture.Image, float]:
    """Return the phantom as it is looked at, and by how much it was reduced."""
    window = phantom.window
    image = Image(
        pixels=phantom.pixels,
        bits_stored=phantom.bits_stored,
        photometric=Photometric(phantom.photometric),
        window=None
        if window is None
        else Window(center=window.center, width=window.width),
    )
    grey = grey_from_image(image, _GREY_RULE).pixels
    rows, columns = grey.shape
    scale = _LONG_EDGE_PX / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    small = Picture.fromarray(grey).resize(size, Picture.Resampling.BOX)
    return small.convert("RGB"), scale


def _place(box: pb.Box, scale: float) -> tuple[float, float, float, float]:
    """Return the corners in the picture, in order also for a degenerate box."""
    xs = sorted((box.x_min * scale, box.x_max * scale))
    ys = sorted((box.y_min * scale, box.y_max * scale))
    return xs[0], ys[0], xs[1], ys[1]
