"""The lead letter that names the patient's side."""

from __future__ import annotations

import numpy as np

from spinert.phantom.plan import Plan
from spinert.phantom.shapes import Grain, Part, band, curve
from spinert.phantom.truth import Projection

__all__ = ["marker_parts"]

_STEM = ((0.0, 0.0), (0.0, 10.0))
_STROKES = {
    "L": (_STEM, ((0.0, 10.0), (6.0, 10.0))),
    "R": (
        _STEM,
        ((0.0, 0.0), (4.5, 0.0), (6.0, 2.5), (4.5, 5.2), (0.0, 5.2)),
        ((2.8, 5.2), (6.3, 10.0)),
    ),
}


def marker_parts(plan: Plan) -> tuple[Part, ...]:
    """Return the strokes of the marker, in a corner of the collimated field.

    In an AP view the patient's left is on the image's right.
    """
    letter = plan.exposure.marker
    if not letter:
        return ()
    left, top, right, bottom = plan.field.margins_mm
    half_width, half_height = plan.field.width_mm / 2, plan.field.height_mm / 2
    if plan.patient.projection is Projection.AP:
        on_right = letter == "L"
    else:
        on_right = not plan.patient.faces_right  # behind the patient's back
    x = half_width - right - 18.0 if on_right else left + 10.0 - half_width
    low = plan.patient.anatomy_seed % 2 == 0
    y = half_height - bottom - 28.0 if low else top + 12.0 - half_height
    return tuple(
        Part(
            outline=band(curve(stroke) + np.array((x, y)), 1.9),
            core=9.0,
            grain=Grain.METAL,
        )
        for stroke in _STROKES[letter]
    )
