"""The chest and the throat: lungs with their vessels, heart and windpipe."""

from __future__ import annotations

import numpy as np

from spinert.phantom.column import Body, position_mm
from spinert.phantom.plan import Plan
from spinert.phantom.shapes import Grain, Part, band, curve, soft_part
from spinert.phantom.truth import Projection

__all__ = ["air_spaces"]


def air_spaces(
    plan: Plan, column: tuple[Body, ...], rng: np.random.Generator
) -> tuple[Part, ...]:
    """Return windpipe, lungs and heart, to be added to the contour of the body."""
    lateral = plan.patient.projection is Projection.LATERAL
    lungs = _lungs_lateral if lateral else _lungs_frontal
    parts = _airway(plan, column)
    if plan.field.reaches(position_mm(column, "T6")[1], 230.0):
        parts += lungs(plan, column, rng)
    return tuple(parts)


def _airway(plan: Plan, column: tuple[Body, ...]) -> list[Part]:
    """Return the air column from the throat to the fork of the windpipe."""
    scale = plan.patient.size
    names = ("C2", "C4", "C6", "T1", "T4")
    frames = [position_mm(column, name) for name in names]
    if plan.patient.projection is Projection.AP:
        widths = (4.0, 5.0, 7.0, 8.5, 8.5)
        away = (0.0, 0.0, 0.0, 0.0, 1.0)
        depth = -0.36
    else:
        widths = (6.0, 6.5, 7.5, 8.0, 8.0)
        away = (-15.0, -17.0, -26.0, -28.0, -30.0)
        depth = -0.4
    line = [(x + a * scale, y) for (x, y), a in zip(frames, away, strict=True)]
    left = [(x - w * scale, y) for (x, y), w in zip(line, widths, strict=True)]
    right = [(x + w * scale, y) for (x, y), w in zip(line, widths, strict=True)]
    return [soft_part(left + right[::-1], depth, 4.0)]


def _lungs_lateral(
    plan: Plan, column: tuple[Body, ...], rng: np.random.Generator
) -> list[Part]:
    scale = plan.patient.size
    top, middle, low = (
        position_mm(column, "T2"),
        position_mm(column, "T6"),
        position_mm(column, "T11"),
    )
    lung = [
        (top[0] - 15, top[1] - 10),
        (top[0] + 22 * scale, top[1]),
        (middle[0] + 45 * scale, middle[1]),
        (low[0] + 38 * scale, low[1] + 5),
        (low[0] + 8 * scale, low[1] + 18),
        (low[0] - 50 * scale, low[1] - 42),
        (low[0] - 112 * scale, low[1] - 28),
        (middle[0] - 108 * scale, middle[1] + 10),
        (top[0] - 72 * scale, top[1] + 40),
    ]
    heart = [
        (middle[0] - 100 * scale, middle[1] + 20),
        (middle[0] - 55 * scale, middle[1] + 5),
        (middle[0] - 28 * scale, middle[1] + 45),
        (low[0] - 45 * scale, low[1] - 35),
        (low[0] - 110 * scale, low[1] - 30),
    ]
    hub = (middle[0] - 30 * scale, middle[1] + 5)
    return [
        soft_part(lung, -2.2, 32.0),
        soft_part(heart, 0.75, 38.0),
        *_vessels(rng, hub, (75 * scale, 85 * scale), 34),
    ]


def _lungs_frontal(
    plan: Plan, column: tuple[Body, ...], rng: np.random.Generator
) -> list[Part]:
    s = plan.patient.size
    top, middle, low = (
        position_mm(column, "T2"),
        position_mm(column, "T6"),
        position_mm(column, "T11"),
    )
    right = [
        (top[0] - 22 * s, top[1] - 22),
        (top[0] - 55 * s, top[1] - 18),
        (middle[0] - 112 * s, middle[1] - 20),
        (low[0] - 132 * s, low[1] - 6),
        (low[0] - 124 * s, low[1] + 12),
        (low[0] - 70 * s, low[1] - 42),
        (low[0] - 20 * s, low[1] - 26),
        (middle[0] - 24 * s, middle[1]),
        (top[0] - 20 * s, top[1] + 20),
    ]
    left = [
        (top[0] + 22 * s, top[1] - 22),
        (top[0] + 55 * s, top[1] - 18),
        (middle[0] + 112 * s, middle[1] - 20),
        (low[0] + 132 * s, low[1] - 2),
        (low[0] + 124 * s, low[1] + 15),
        (low[0] + 92 * s, low[1] - 32),
        (low[0] + 70 * s, low[1] - 50),
        (middle[0] + 40 * s, middle[1] + 12),
        (middle[0] + 26 * s, middle[1] - 20),
        (top[0] + 24 * s, top[1] + 20),
    ]
    parts = [soft_part(right, -1.55, 26.0), soft_part(left, -1.5, 26.0)]
    for side in (-1.0, 1.0):
        hub = (middle[0] + side * 34 * s, middle[1] + 4)
        parts += _vessels(rng, hub, (52 * s, 80 * s), 24)
    return parts


def _vessels(
    rng: np.random.Generator,
    hub: tuple[float, float],
    reach_mm: tuple[float, float],
    count: int,
) -> list[Part]:
    """Return vessels that fan out from the root of a lung and thin out."""
    parts = []
    for _ in range(count):
        angle, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.35)
        steps = np.linspace(rng.uniform(0.1, 0.4), rng.uniform(0.5, 1.0), 5)
        turn = angle + bend * steps
        path = np.column_stack((np.cos(turn), np.sin(turn))) * steps[:, None]
        path += rng.normal(0, 0.1, 2)
        line = curve(path * reach_mm + hub, 2)
        width = np.linspace(rng.uniform(3.0, 6.5), 1.2, len(line))
        parts.append(
            Part(
                outline=band(line, width),
                core=float(rng.uniform(0.06, 0.16)),
                round_mm=2.0,
                grain=Grain.SOFT,
            )
        )
    return parts
