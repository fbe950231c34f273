"""A vertebra from the side, its front to the left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from spinert.phantom.column import Body, body_outline, endplate
from spinert.phantom.shapes import Part, Points, band, ellipse, rounded

__all__ = ["foramen", "lateral_vertebra", "reach"]

Corners = Sequence[tuple[float, float]]

# Shapes behind the body: x in reaches behind its back wall, y in body heights from
# its middle, positive down. One reach is about a third of a lumbar body's depth.
_PEDICLE: Final = ((-0.5, -0.42), (0.9, -0.38), (1.1, 0.02), (-0.5, 0.06))
_UPPER_FACET: Final = (
    (0.75, 0.0),
    (0.8, -0.5),
    (0.95, -0.82),
    (1.35, -0.74),
    (1.6, -0.25),
    (1.5, 0.1),
)
_LOWER_FACET: Final = (
    (0.9, -0.15),
    (1.1, 0.3),
    (1.35, 0.85),
    (1.7, 0.98),
    (2.0, 0.75),
    (1.9, 0.2),
    (1.7, -0.2),
)
_SPINOUS: Final = {
    "C": (
        (1.4, 0.0),
        (2.4, 0.08),
        (3.6, 0.2),
        (4.4, 0.34),
        (4.5, 0.66),
        (4.0, 0.7),
        (3.0, 0.48),
        (1.6, 0.45),
    ),
    "T": (
        (1.4, 0.0),
        (2.2, 0.1),
        (3.4, 0.65),
        (4.5, 1.1),
        (4.6, 1.4),
        (4.2, 1.5),
        (3.0, 1.05),
        (1.6, 0.6),
    ),
    "L": (
        (1.3, -0.05),
        (2.1, -0.16),
        (3.0, -0.12),
        (4.3, -0.02),
        (4.8, 0.2),
        (4.75, 0.6),
        (4.3, 0.74),
        (3.2, 0.6),
        (2.2, 0.5),
        (1.5, 0.55),
    ),
    "S": ((1.0, 0.0), (1.6, 0.0), (2.2, 0.3), (2.1, 0.6), (1.4, 0.7), (0.9, 0.5)),
}


def reach(body: Body) -> float:
    """Return the unit of length of the elements behind a body, in mm."""
    least = 0.4 if body.level.part == "C" else 0.31
    return body.breadth_mm * least


def foramen(body: Body) -> tuple[Points, tuple[float, float], tuple[float, float]]:
    """Return the hole below a pedicle: its outline, centre and radii in (u, v)."""
    unit = reach(body)
    top = 0.09 * body.height_mm
    bottom = 0.5 * body.height_mm + body.gap_mm
    centre = (body.breadth_mm / 2 + 0.48 * unit, (top + bottom) / 2)
    radii = (0.46 * unit, max((bottom - top) / 2 * 0.92, 2.0))
    return ellipse(centre, radii), centre, radii


def lateral_vertebra(
    body: Body, *, bone: float, rng: np.random.Generator
) -> tuple[Part, ...]:
    """Return the parts of one vertebra, placed in the image.

    Args:
        body: Where and how large it is.
        bone: Density of the bone, about 1.
        rng: Source of the small irregularities of normal bone.
    """
    parts = (*_body_parts(body, bone), *_arch_parts(body, bone, rng))
    return body.frame.place_parts(parts)


def _body_parts(body: Body, bone: float) -> list[Part]:
    size = body.level.width_mm / 45  # the beam crosses the width
    sacral = 0.5 if body.level.part == "S" else 1.0
    top, bottom = endplate(body, lower=False), endplate(body, lower=True)
    # The far rim of each endplate is seen beside the near one.
    parallax = np.array((0.0, 0.045 * body.height_mm))
    inset = np.array((0.0, 0.6))
    core = 0.22 * bone * (0.35 + 0.65 * size)
    return [
        Part(
            outline=body_outline(body),
            core=core,
            round_mm=3.2,
            rim=0.18 * bone * sacral,
            rim_mm=1.1,
        ),
        Part(outline=band(top + inset, 1.5), core=0.2 * bone * sacral),
        Part(outline=band(bottom - inset, 1.6), core=0.24 * bone * sacral),
        Part(outline=band(top + parallax * 1.6, 1.0), core=0.06 * bone * sacral),
        Part(outline=band(bottom - parallax * 1.3, 1.0), core=0.07 * bone * sacral),
    ]


def _arch_parts(body: Body, bone: float, rng: np.random.Generator) -> list[Part]:
    unit, height = reach(body), body.height_mm
    part_of_spine = body.level.part
    back = body.breadth_mm / 2

    def shaped(corners: Corners, wobble: float) -> Points:
        points = np.asarray(corners) + rng.normal(0.0, wobble, (len(corners), 2))
        return rounded(points * (unit, height) + (back, 0.0))

    spinous = shaped(_SPINOUS[part_of_spine], 0.05)
    if body.level.name in {"C7", "T1", "C2"}:
        longer = spinous[:, 0] > back + 2.2 * unit
        spinous[longer, 0] += 0.9 * unit
    parts = [Part(outline=spinous, core=0.12 * bone, round_mm=2.5, rim=0.12 * bone)]
    if part_of_spine == "S":
        return parts
    strength = 0.8 if part_of_spine == "T" else 1.0
    # Both sides are seen, a little apart.
    apart = rng.normal(0.0, 0.04 * unit, (2, 2))
    for shift in apart:
        for corners, core in (
            (_PEDICLE, 0.15),
            (_UPPER_FACET, 0.1),
            (_LOWER_FACET, 0.1),
        ):
            outline = shaped(corners, 0.02) + shift
            parts.append(
                Part(
                    outline=outline,
                    core=core * bone * strength,
                    round_mm=3.0,
                    rim=0.05 * bone * strength,
                )
            )
    hole, _, _ = foramen(body)
    parts.append(Part(outline=hole, core=-0.08 * strength, round_mm=2.0))
    return parts
