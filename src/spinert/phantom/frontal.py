"""A vertebra from the front."""

from __future__ import annotations

from math import sin
from typing import Final

import numpy as np

from spinert.phantom.column import Body, body_outline, endplate
from spinert.phantom.shapes import Part, Points, band, ellipse, rounded

__all__ = ["frontal_vertebra"]

# Half shapes, x in half widths from the midline, y in body heights from the middle.
_TRANSVERSE: Final = {
    "C": ((0.85, -0.3), (1.15, -0.3), (1.3, 0.0), (1.2, 0.25), (0.85, 0.25)),
    "T": ((0.8, -0.3), (1.3, -0.5), (1.65, -0.55), (1.7, -0.3), (1.3, -0.12), (0.8, 0)),
    "L": (
        (0.7, -0.2),
        (1.3, -0.28),
        (1.85, -0.4),
        (1.9, -0.22),
        (1.35, -0.02),
        (0.7, 0),
    ),
}
_LAMINA: Final = (
    (0.0, -0.1),
    (0.35, -0.28),
    (0.6, -0.42),
    (0.68, -0.1),
    (0.5, 0.25),
    (0.55, 0.7),
    (0.3, 0.72),
    (0.22, 0.38),
    (0.0, 0.42),
)
_FACET: Final = ((0.34, 0.2), (0.66, 0.3), (0.8, 0.62), (0.7, 1.0), (0.4, 0.98))
_PILLAR: Final = ((0.62, -0.7), (1.05, -0.62), (1.12, 0.0), (1.05, 0.6), (0.64, 0.55))


def frontal_vertebra(
    body: Body, *, bone: float, turn: float, rng: np.random.Generator
) -> tuple[Part, ...]:
    """Return the parts of one vertebra, placed in the image.

    Args:
        body: Where and how large it is.
        bone: Density of the bone, about 1.
        turn: Axial rotation: shift of the back elements in half widths.
        rng: Source of the small irregularities of normal bone.
    """
    parts = [*_body_parts(body, bone), *_arch_parts(body, bone, turn, rng)]
    return body.frame.place_parts(parts)


def _body_parts(body: Body, bone: float) -> list[Part]:
    sacral = 0.3 if body.level.part == "S" else 1.0
    depth = body.level.depth_mm / 34
    parts = [
        Part(
            outline=body_outline(body),
            core=0.2 * bone * (0.3 + 0.7 * depth) * sacral,
            round_mm=4.0,
            rim=0.2 * bone * sacral,
            rim_mm=1.3,
        )
    ]
    # A tilted endplate shows its front and its back rim as a narrow lens.
    seen = min(abs(body.level.depth_mm * sin(body.tilt_rad)) / 2, 0.22 * body.height_mm)
    s = np.linspace(-1.0, 1.0, 13)
    for lower in (False, True):
        line = endplate(body, lower=lower)
        inwards = -1.0 if lower else 1.0
        bow = np.column_stack((0 * s, inwards * (1.2 + seen) * np.sqrt(1 - s * s)))
        near = line + np.array((0.0, inwards * 0.6))
        parts += [
            Part(outline=band(near, 1.6), core=0.18 * bone * sacral),
            Part(outline=band(line + bow, 1.0), core=0.08 * bone * sacral),
        ]
    if body.level.part == "C":
        parts += _uncinates(body, bone)
    return parts


def _uncinates(body: Body, bone: float) -> list[Part]:
    half, height = body.breadth_mm / 2, body.height_mm
    shape = np.array(((0.72, -0.4), (0.8, -0.66), (0.98, -0.82), (1.02, -0.4)))
    right = rounded(shape * (half, height))
    return [
        Part(outline=outline, core=0.12 * bone, rim=0.08 * bone)
        for outline in (right, right * (-1.0, 1.0))
    ]


def _arch_parts(
    body: Body, bone: float, turn: float, rng: np.random.Generator
) -> list[Part]:
    half, height = body.breadth_mm / 2, body.height_mm
    part_of_spine = body.level.part
    if part_of_spine == "S":
        return []
    shift = (turn * half, 0.0)

    def both(corners: tuple[tuple[float, float], ...]) -> tuple[Points, Points]:
        sides = []
        for side in (-1.0, 1.0):
            points = np.array(corners) + rng.normal(0.0, 0.02, (len(corners), 2))
            sides.append(rounded(points * (side * half, height)) + shift)
        return sides[0], sides[1]

    parts = [
        Part(outline=outline, core=0.1 * bone, round_mm=2.0, rim=0.07 * bone)
        for outline in both(_TRANSVERSE[part_of_spine])
    ]
    pillars = _PILLAR if part_of_spine == "C" else _FACET
    parts += [
        Part(outline=outline, core=0.19 * bone, round_mm=3.0, rim=0.08 * bone)
        for corners in (_LAMINA, pillars)
        for outline in both(corners)
    ]
    if part_of_spine != "C":
        parts += _pedicles(body, bone, turn)
    parts.append(_spinous(body, bone, turn, rng))
    return parts


def _pedicles(body: Body, bone: float, turn: float) -> list[Part]:
    half, height = body.breadth_mm / 2, body.height_mm
    wide = 0.15 if body.level.part == "T" else 0.17
    return [
        Part(
            outline=ellipse(
                ((side * 0.64 + turn * 0.8) * half, -0.16 * height),
                (wide * half, 0.27 * height),
            ),
            core=0.03 * bone,
            rim=0.2 * bone,
            rim_mm=1.2,
        )
        for side in (-1.0, 1.0)
    ]


def _spinous(body: Body, bone: float, turn: float, rng: np.random.Generator) -> Part:
    half, height = body.breadth_mm / 2, body.height_mm
    drop = {"C": 0.35, "T": 0.75, "L": 0.45}[body.level.part] + rng.normal(0.0, 0.08)
    aside = turn * 1.6 + rng.normal(0.0, 0.03)
    shape = np.array(
        (
            (0.0, -0.35),
            (0.07, 0.0),
            (0.13, 0.3),
            (0.0, 0.42),
            (-0.13, 0.3),
            (-0.07, 0.0),
        )
    )
    shape *= (rng.uniform(0.7, 1.5), rng.uniform(0.7, 1.2))
    outline = rounded(shape * (half, height)) + np.array((aside * half, drop * height))
    return Part(outline=outline, core=0.2 * bone, rim=0.18 * bone, rim_mm=1.0)
