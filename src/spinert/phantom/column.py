"""The column: where each vertebra lies, with the lesions that move or deform it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, cos, radians, sin

import numpy as np

from spinert.phantom.levels import LEVELS, Level, index_of_level
from spinert.phantom.plan import Kind, Lesion, Plan
from spinert.phantom.shapes import Frame, Points
from spinert.phantom.truth import Projection

__all__ = ["Body", "body_outline", "column_from_plan", "endplate", "position_mm"]


@dataclass(frozen=True, kw_only=True)
class Body:
    """One vertebral body in the image."""

    level: Level
    frame: Frame
    breadth_mm: float
    """Along the endplates: the depth in a lateral view, the width in AP."""
    left_mm: float
    """Height at the left wall, the front in a lateral view."""
    right_mm: float
    sunk_mm: float
    """How far each endplate's middle lies below its rims."""
    waist_mm: float
    """How far each wall's middle lies inside its rims."""
    gap_mm: float
    """Height of the disc below."""
    tilt_rad: float
    """Of the endplates against the beam in AP; 0 in a lateral view."""

    @property
    def height_mm(self) -> float:
        """Mean of both walls."""
        return (self.left_mm + self.right_mm) / 2


def position_mm(column: Sequence[Body], name: str) -> tuple[float, float]:
    """Return where the middle of a body lies in the image, for example of "T6"."""
    frame = column[index_of_level(name)].frame
    return frame.x_mm, frame.y_mm


def endplate(body: Body, *, lower: bool) -> Points:
    """Return an endplate as points (u, v) of the body, from left to right."""
    s = np.linspace(-1.0, 1.0, 13)
    rim = (body.left_mm * (1 - s) + body.right_mm * (1 + s)) / 4
    bowed = rim - body.sunk_mm * (1 - s * s) ** 1.2
    # The corners are a little rounded.
    bowed = bowed - 0.05 * body.height_mm * np.abs(s) ** 14
    return np.column_stack((s * body.breadth_mm / 2, bowed if lower else -bowed))


def body_outline(body: Body) -> Points:
    """Return the outline of a body as points (u, v): endplates and waisted walls."""
    top, bottom = endplate(body, lower=False), endplate(body, lower=True)
    t = np.linspace(-1.0, 1.0, 9)[1:-1]
    inside = body.breadth_mm / 2 - body.waist_mm * (1 - t * t)
    right = np.column_stack((inside, t * body.right_mm / 2 * 0.95))
    left = np.column_stack((-inside, t * body.left_mm / 2 * 0.95))
    return np.concatenate((top, right, bottom[::-1], left[::-1]))


def column_from_plan(plan: Plan) -> tuple[Body, ...]:
    """Return every body of LEVELS in image coordinates, also those out of the field.

    Lateral columns face left; a patient who faces right is mirrored when drawn.
    """
    tilts = _tilts_rad(plan)
    sizes = [_sized(plan, at) for at in range(len(LEVELS))]
    centres = [(0.0, 0.0)]
    for at in range(1, len(LEVELS)):
        above, below = sizes[at - 1], sizes[at]
        middle = (tilts[at - 1] + tilts[at]) / 2
        x, y = centres[-1]
        for length, angle in (
            (above.height_mm / 2, tilts[at - 1]),
            (above.gap_mm, middle),
            (below.height_mm / 2, tilts[at]),
        ):
            x, y = x + length * sin(angle), y + length * cos(angle)
        step = _step_mm(plan, at - 1)
        centres.append((x + step * cos(middle), y - step * sin(middle)))
    anchor = centres[plan.field.level]
    dx, dy = plan.field.offset_mm[0] - anchor[0], plan.field.offset_mm[1] - anchor[1]
    return tuple(
        Body(
            level=size.level,
            frame=Frame(x_mm=x + dx, y_mm=y + dy, angle_rad=tilt),
            breadth_mm=size.breadth_mm,
            left_mm=size.left_mm,
            right_mm=size.right_mm,
            sunk_mm=size.sunk_mm,
            waist_mm=size.waist_mm,
            gap_mm=size.gap_mm,
            tilt_rad=size.tilt_rad,
        )
        for size, (x, y), tilt in zip(sizes, centres, tilts, strict=True)
    )


def _of(plan: Plan, level: int, *kinds: Kind) -> Sequence[Lesion]:
    return [at for at in plan.lesions if at.kind in kinds and at.level == level]


def _step_mm(plan: Plan, upper: int) -> float:
    """Return how far the vertebra below a disc lies behind the one that slipped."""
    slips = _of(plan, upper, Kind.SLIP)
    depth = LEVELS[upper].depth_mm * plan.patient.size
    return sum(-at.side * depth * (0.17 + 0.2 * at.severity) for at in slips)


def _tilts_rad(plan: Plan) -> list[float]:
    patient = plan.patient
    if patient.projection is Projection.AP:
        phase = (patient.anatomy_seed % 97) / 97 * 2 * np.pi
        return [
            patient.tilt_rad + patient.bend_rad * float(np.sin(0.55 * at + phase))
            for at in range(len(LEVELS))
        ]
    middle = LEVELS[plan.field.level].tilt_deg
    tilts = [
        radians(middle + (level.tilt_deg - middle) * patient.curve) + patient.tilt_rad
        for level in LEVELS
    ]
    for lesion in plan.lesions:
        if lesion.kind is Kind.WEDGE:
            level = LEVELS[lesion.level]
            lost = _height_lost(lesion) * level.height_mm
            turn = 0.7 * atan2(lost, level.depth_mm)
            above = lesion.level <= plan.field.level
            for at in range(len(tilts)):
                if above and at < lesion.level:
                    tilts[at] += turn
                elif not above and at > lesion.level:
                    tilts[at] -= turn
    return tilts


def _height_lost(lesion: Lesion) -> float:
    return 0.3 + 0.35 * lesion.severity


def _sized(plan: Plan, at: int) -> Body:
    """Return a body of the right size, not yet placed."""
    patient, level = plan.patient, LEVELS[at]
    lateral = patient.projection is Projection.LATERAL
    wobble = np.random.default_rng([patient.anatomy_seed, 11, at]).normal(size=3)
    seen_tilt = 0.0 if lateral else radians(level.tilt_deg * patient.curve)
    shrink = cos(seen_tilt) * patient.size
    height = level.height_mm * shrink * (1 + 0.015 * wobble[0])
    disc = level.disc_mm * shrink * (1 + 0.05 * wobble[1])
    left, right, sunk = height, height, 0.055 * height
    if lateral:
        left, right = height * _WEDGING.get(level.name, 0.99), height
    for lesion in _of(plan, at, Kind.WEDGE, Kind.BICONCAVE, Kind.CRUSH):
        left, right, sunk = _collapsed((left, right, sunk), lesion, lateral=lateral)
    for lesion in _of(plan, at, Kind.NARROW_DISC):
        disc *= 0.5 - 0.38 * lesion.severity
    return Body(
        level=level,
        frame=Frame(x_mm=0.0, y_mm=0.0, angle_rad=0.0),
        breadth_mm=(level.depth_mm if lateral else level.width_mm) * patient.size,
        left_mm=left,
        right_mm=right,
        sunk_mm=sunk,
        waist_mm=(0.05 if lateral else 0.065) * level.depth_mm * patient.size,
        gap_mm=disc,
        tilt_rad=seen_tilt,
    )


_WEDGING = {"L5": 1.08, "L4": 1.03, "T11": 0.96, "T12": 0.95, "L1": 0.96, "S1": 1.05}
"""Height of the front over the height of the back in a normal vertebra."""


def _collapsed(
    heights: tuple[float, float, float], lesion: Lesion, *, lateral: bool
) -> tuple[float, float, float]:
    left, right, sunk = heights
    lost = _height_lost(lesion)
    if lesion.kind is Kind.BICONCAVE:
        return left * 0.96, right * 0.97, sunk + (left + right) / 4 * lost * 0.85
    if lesion.kind is Kind.CRUSH or not lateral:
        return left * (1 - lost), right * (1 - lost * 0.92), sunk * 0.8
    return left * (1 - lost), right * (1 - 0.15 * lost), sunk
