"""Bones around the spine: ribs, collar bones, pelvis, jaw and skull base."""

from __future__ import annotations

from typing import Final

import numpy as np

from spinert.phantom.column import Body, position_mm
from spinert.phantom.levels import index_of_level
from spinert.phantom.plan import Plan
from spinert.phantom.shapes import Grain, Part, Points, band, curve, ellipse, rounded
from spinert.phantom.truth import Projection

__all__ = ["skeleton"]

_RIB_REACH_MM: Final = (58, 84, 102, 114, 122, 127, 130, 131, 128, 120, 92, 56)
"""How far to the side the ribs of T1 to T12 reach."""


def skeleton(plan: Plan, column: tuple[Body, ...]) -> tuple[Part, ...]:
    """Return all bones but the vertebrae, in image coordinates."""
    rng = np.random.default_rng([plan.patient.anatomy_seed, 31])
    pelvis = np.random.default_rng([plan.patient.anatomy_seed, 32])
    lateral = plan.patient.projection is Projection.LATERAL
    ribs = _ribs_lateral if lateral else _ribs_frontal
    parts = ribs(plan, column, rng)
    if plan.field.reaches(position_mm(column, "S1")[1], 60.0):
        parts += (_pelvis_lateral if lateral else _pelvis_frontal)(plan, column, pelvis)
    if plan.field.reaches(position_mm(column, "C2")[1], 30.0):
        parts += (_head_lateral if lateral else _head_frontal)(plan, column)
    if not lateral and plan.field.reaches(position_mm(column, "T3")[1], 50.0):
        parts += _collar_bones(plan, column)
    return tuple(parts)


def _at(column: tuple[Body, ...], name: str) -> Points:
    return np.array(position_mm(column, name))


def _bone(
    outline: Points, plan: Plan, core: float, rim: float, thick: tuple[float, float]
) -> Part:
    bone = plan.patient.bone
    return Part(
        outline=outline,
        core=core * bone,
        round_mm=thick[0],
        rim=rim * bone,
        rim_mm=thick[1],
        grain=Grain.SKELETON,
    )


def _ribs_lateral(
    plan: Plan, column: tuple[Body, ...], rng: np.random.Generator
) -> list[Part]:
    s = plan.patient.size
    parts = []
    for number, reach in enumerate(_RIB_REACH_MM):
        body = column[index_of_level("T1") + number]
        for side in (-1.0, 1.0):
            start = np.array((body.frame.x_mm, body.frame.y_mm))
            start += rng.normal(0, 1.5, 2) + side * np.array((4.0, 3.0))
            if not plan.field.reaches(start[1], 150.0):
                continue
            path = np.array(
                ((14, -4), (34, 4), (38, 26), (8, 54), (-48, 88), (-96, 104))
            ) * (s * reach / 130)
            parts.append(_rib(curve(path + start), plan, 8.5 * s, 1.0))
    return parts


def _rib(line: Points, plan: Plan, width_mm: float, strength: float) -> Part:
    """Return one rib along a path; its free end thins out."""
    t = np.linspace(0.0, 1.0, len(line))
    widths = width_mm * np.interp(t, (0.0, 0.1, 0.5, 0.9, 1.0), (0.7, 0.8, 1, 1, 0.2))
    core, rim = 0.07 * strength, 0.09 * strength
    return _bone(band(line, widths), plan, core, rim, (2.0, 1.5))


_UPPER_RIB: Final = ((0.12, 0.0), (0.35, -0.06), (0.7, 0.04), (0.95, 0.3), (1.0, 0.62))
_LOWER_RIB: Final = ((0.12, 0.0), (0.36, 0.06), (0.62, 0.24), (0.85, 0.5), (1.0, 0.78))
_FRONT_RIB: Final = ((1.0, 0.58), (0.98, 0.76), (0.82, 0.98), (0.55, 1.1), (0.4, 1.08))


def _ribs_frontal(
    plan: Plan, column: tuple[Body, ...], rng: np.random.Generator
) -> list[Part]:
    s = plan.patient.size
    parts = []
    for number, reach in enumerate(_RIB_REACH_MM):
        body = column[index_of_level("T1") + number]
        start = np.array((body.frame.x_mm, body.frame.y_mm - 0.3 * body.height_mm))
        low = float(np.interp(number, (3, 10), (0.0, 1.0)))
        shape = np.array(_UPPER_RIB) * (1 - low) + np.array(_LOWER_RIB) * low
        for side in (-1.0, 1.0):
            scale = np.array((side * reach * s, reach * s))
            back = (shape + rng.normal(0, 0.012, shape.shape)) * scale
            if not plan.field.reaches(start[1], 160.0):
                continue
            parts.append(_rib(curve(back + start), plan, 8.5 * s, 1.0))
            if number < 7:
                front = np.array(_FRONT_RIB) * scale
                parts.append(_rib(curve(front + start), plan, 10.0 * s, 0.5))
    return parts


def _collar_bones(plan: Plan, column: tuple[Body, ...]) -> list[Part]:
    s = plan.patient.size
    start = _at(column, "T3")
    path = np.array(((18, -4), (50, -14), (90, -30), (135, -36), (165, -28)))
    return [
        _bone(
            band(curve(path * (side * s, s) + start), 12 * s),
            plan,
            0.16,
            0.16,
            (3.0, 2.0),
        )
        for side in (-1.0, 1.0)
    ]


def _pelvis_lateral(
    plan: Plan, column: tuple[Body, ...], rng: np.random.Generator
) -> list[Part]:
    s = plan.patient.size
    sacrum = _at(column, "S1")
    wing = np.array(
        (
            (-92, 34),
            (-78, 2),
            (-40, -32),
            (6, -42),
            (42, -20),
            (52, 14),
            (36, 44),
            (8, 60),
            (2, 92),
            (-36, 108),
            (-58, 70),
        )
    )
    head = np.array((-30.0, 104.0))
    parts = []
    for side in (-1.0, 1.0):
        shift = side * rng.uniform(1, 5, 2) + sacrum
        outline = rounded(wing * s + shift, 3)
        parts.append(_bone(outline, plan, 0.1, 0.15, (9.0, 2.2)))
        centre = head * s + shift
        parts.append(
            _bone(
                ellipse((centre[0], centre[1]), (25 * s, 25 * s)),
                plan,
                0.2,
                0.1,
                (8.0, 2.0),
            )
        )
    return parts


def _pelvis_frontal(
    plan: Plan, column: tuple[Body, ...], rng: np.random.Generator
) -> list[Part]:
    s = plan.patient.size
    sacrum = _at(column, "S1")
    bone = np.array(
        ((0, -4), (24, -9), (30, -2), (52, -2), (60, 14), (48, 38), (30, 72), (0, 104))
    )
    whole = np.concatenate((bone, bone[::-1] * (-1, 1)))
    parts = [_bone(rounded(whole * s + sacrum), plan, 0.22, 0.08, (6.0, 1.5))]
    wing = np.array(
        (
            (36, 22),
            (40, -10),
            (52, -34),
            (74, -50),
            (100, -54),
            (124, -40),
            (134, -18),
            (138, 4),
            (128, 22),
            (116, 44),
            (118, 70),
            (112, 96),
            (84, 104),
            (64, 84),
            (54, 56),
            (40, 40),
        )
    )
    for side in (-1.0, 1.0):
        outline = rounded(wing * (side * s, s) + sacrum, 3)
        parts.append(_bone(outline, plan, 0.16, 0.15, (6.0, 2.2)))
        hip = sacrum + np.array((side * 92, 116)) * s
        parts.append(
            _bone(ellipse((hip[0], hip[1]), (26 * s, 26 * s)), plan, 0.3, 0.1, (8, 2))
        )
        for row, (away, down) in enumerate(((20, 14), (17, 36), (14, 56))):
            hole = sacrum + np.array((side * away, down)) * s + rng.normal(0, 0.8, 2)
            size = (5.5 - row * 0.6) * s
            shape = ellipse((hole[0], hole[1]), (size * 1.2, size * 0.8), side * 0.4)
            parts.append(_bone(shape, plan, -0.1, 0.09, (1.5, 1.2)))
    return parts


def _head_lateral(plan: Plan, column: tuple[Body, ...]) -> list[Part]:
    """Return atlas, dens, jaw and skull base above the axis."""
    s = plan.patient.size
    axis = column[index_of_level("C2")]

    def put(points: tuple[tuple[float, float], ...]) -> Points:
        return rounded(axis.frame.place(np.array(points) * s), 3)

    shapes = (
        (((-5, -6), (-5, -24), (0, -28), (5, -24), (5, -6)), 0.25, 0.14, 2.0),
        (((-12, -24), (-7, -24), (-6, -14), (-12, -13)), 0.2, 0.15, 1.5),
        (
            ((8, -22), (14, -24), (34, -22), (40, -16), (34, -12), (12, -13)),
            0.12,
            0.14,
            2.0,
        ),
        (
            (
                (-34, 4),
                (-30, -28),
                (-24, -60),
                (-36, -62),
                (-46, -20),
                (-90, 8),
                (-96, 26),
                (-70, 26),
            ),
            0.3,
            0.18,
            5.0,
        ),
        (
            (
                (-70, -62),
                (-20, -46),
                (0, -36),
                (30, -40),
                (58, -54),
                (84, -90),
                (84, -160),
                (-90, -160),
            ),
            0.55,
            0.25,
            10.0,
        ),
    )
    return [
        _bone(put(points), plan, core, rim, (deep, 1.6))
        for points, core, rim, deep in shapes
    ]


def _head_frontal(plan: Plan, column: tuple[Body, ...]) -> list[Part]:
    """Return jaw and skull base, which hide the axis and the atlas."""
    s = plan.patient.size
    axis = _at(column, "C2")
    jaw = np.array(
        (
            (0, 10),
            (22, 6),
            (44, -14),
            (50, -60),
            (40, -62),
            (32, -20),
            (16, -6),
            (0, -4),
        )
    )
    skull = np.array(((0, -14), (34, -18), (62, -42), (72, -90), (70, -160), (0, -170)))
    parts = []
    for half, core, rim, deep in ((jaw, 0.4, 0.2, 5.0), (skull, 0.5, 0.2, 10.0)):
        whole = np.concatenate((half, half[::-1] * (-1, 1)))
        parts.append(_bone(rounded(whole * s + axis, 3), plan, core, rim, (deep, 2.0)))
    return parts
