"""Metal in the spine: screws and rods, cages, plates."""

from __future__ import annotations

import numpy as np

from spinert.phantom.column import Body
from spinert.phantom.lateral import reach
from spinert.phantom.plan import Kind, Lesion, Plan
from spinert.phantom.shapes import Grain, Part, Points, band, curve, ellipse, rounded
from spinert.phantom.truth import Projection

__all__ = ["implant_parts"]


def implant_parts(
    plan: Plan, column: tuple[Body, ...], lesion: Lesion
) -> tuple[Part, ...]:
    """Return one construct, in image coordinates."""
    bodies = column[lesion.level : lesion.last + 1]
    lateral = plan.patient.projection is Projection.LATERAL
    rng = np.random.default_rng([plan.patient.anatomy_seed, 51, lesion.level])
    if lesion.kind is Kind.CAGE:
        return tuple(_cage(bodies[0], bodies[1], lateral=lateral))
    if lesion.kind is Kind.PLATE:
        return tuple(_plate(bodies, lateral=lateral))
    screws = _screws_lateral if lateral else _screws_frontal
    parts = screws(bodies, rng)
    if lesion.severity > 0.5:
        parts += _cage(bodies[-2], bodies[-1], lateral=lateral)
    return tuple(parts)


def _metal(outline: Points, core: float, round_mm: float = 0.0) -> Part:
    return Part(outline=outline, core=core, round_mm=round_mm, grain=Grain.METAL)


def _threaded(start: Points, end: Points, width_mm: float) -> Points:
    """Return a screw's shaft: a ribbon whose width swells with every turn."""
    steps = 31
    t = np.linspace(0.0, 1.0, steps)[:, None]
    swell = 1.0 + 0.13 * np.cos(np.arange(steps) * np.pi)
    taper = np.interp(t[:, 0], (0.0, 0.85, 1.0), (1.0, 0.9, 0.35))
    return band(start * (1 - t) + end * t, width_mm * swell * taper)


def _screws_lateral(bodies: tuple[Body, ...], rng: np.random.Generator) -> list[Part]:
    parts = []
    for _ in range(2):
        heads = []
        for body in bodies:
            unit, back, height = reach(body), body.breadth_mm / 2, body.height_mm
            jitter = rng.normal(0.0, 0.8, (2, 2))
            ends = np.array(
                ((back + 1.75 * unit, -0.2 * height), (-0.22 * back, -0.16 * height))
            )
            head, tip = body.frame.place(ends + jitter)
            parts.append(_metal(_threaded(head, tip, 0.19 * back + 1.8), 1.5, 1.5))
            along = (tip - head) / np.hypot(*(tip - head))
            tulip = band(np.array((head - along * 4, head + along * 6)), 9.0)
            parts.append(_metal(tulip, 1.6, 1.0))
            heads.append(head - along * 1.5)
        rod = np.array(heads)
        rod = np.concatenate(
            (rod[:1] - _lead(rod[0], rod[1]), rod, rod[-1:] - _lead(rod[-1], rod[-2]))
        )
        parts.append(_metal(band(curve(rod), 5.2), 1.5, 1.5))
    return parts


def _lead(end: Points, inner: Points) -> Points:
    """Return the step of 7 mm from the end of a rod back to the next screw."""
    step = inner - end
    return np.asarray(step / np.hypot(*step) * 7.0)


def _screws_frontal(bodies: tuple[Body, ...], rng: np.random.Generator) -> list[Part]:
    parts = []
    for side in (-1.0, 1.0):
        heads = []
        for body in bodies:
            half, height = body.breadth_mm / 2, body.height_mm
            ends = np.array(
                (
                    (side * 0.74 * half, -0.14 * height),
                    (side * 0.22 * half, 0.02 * height),
                )
            )
            head, tip = body.frame.place(ends + rng.normal(0.0, 0.7, (2, 2)))
            parts.append(_metal(_threaded(head, tip, 5.5), 1.4, 1.5))
            tulip = rounded(
                np.array(((-5, -6.5), (5, -6.5), (5, 6.5), (-5, 6.5))) + head, 1
            )
            parts.append(_metal(tulip, 1.7, 1.0))
            heads.append(head)
        rod = np.array(heads)
        rod = np.concatenate(
            (rod[:1] - _lead(rod[0], rod[1]), rod, rod[-1:] - _lead(rod[-1], rod[-2]))
        )
        parts.append(_metal(band(curve(rod), 5.4), 1.6, 1.5))
    return parts


def _cage(upper: Body, lower: Body, *, lateral: bool) -> list[Part]:
    """Return a titanium cage in the disc between two bodies."""
    half = upper.breadth_mm / 2 * (0.62 if lateral else 0.55)
    top = upper.frame.place(
        [(-half, upper.height_mm / 2 - 1.2), (half, upper.height_mm / 2 - 1.2)]
    )
    bottom = lower.frame.place(
        [(half, 1.2 - lower.height_mm / 2), (-half, 1.2 - lower.height_mm / 2)]
    )
    outline = np.concatenate((top, bottom))
    middle = outline.mean(axis=0)
    window = middle + (outline - middle) * np.array((0.5, 0.45))
    parts = [_metal(rounded(outline, 1), 1.2), _metal(rounded(window, 1), -0.7)]
    for corner in outline:
        pin = middle + (corner - middle) * 0.7
        parts.append(_metal(ellipse((pin[0], pin[1]), (0.9, 0.9)), 0.8))
    return parts


def _plate(bodies: tuple[Body, ...], *, lateral: bool) -> list[Part]:
    """Return a plate on the front of the bodies, two screws in each."""
    if not lateral:
        return _plate_frontal(bodies)
    line, parts = [], []
    for body in bodies:
        front = -body.breadth_mm / 2 - 1.4
        reach_v = 0.36 * body.height_mm
        line += [(front, -reach_v), (front, reach_v)]
        for v in (-0.12, 0.12):
            ends = np.array(
                (
                    (front, v * body.height_mm),
                    (front + 0.8 * body.breadth_mm, v * 0.6 * body.height_mm),
                )
            )
            start, end = body.frame.place(ends)
            parts.append(_metal(_threaded(start, end, 2.8), 1.1, 0.8))
    placed = [
        body.frame.place(line[2 * at : 2 * at + 2]) for at, body in enumerate(bodies)
    ]
    parts.append(_metal(band(np.concatenate(placed), 2.6), 2.0))
    return parts


def _plate_frontal(bodies: tuple[Body, ...]) -> list[Part]:
    wide = 0.34 * bodies[0].breadth_mm
    ends = (
        bodies[0].frame.place([(0.0, -0.36 * bodies[0].height_mm)])[0],
        bodies[-1].frame.place([(0.0, 0.36 * bodies[-1].height_mm)])[0],
    )
    outline = band(np.array(ends), 2 * wide)
    parts = [_metal(rounded(outline, 1), 0.9)]
    for body in bodies:
        for side in (-1.0, 1.0):
            u = side * 0.62 * wide
            start, end = body.frame.place([(u, 0.0), (u * 0.8, -0.25 * body.height_mm)])
            parts.append(_metal(_threaded(start, end, 3.4), 1.0, 0.8))
            parts.append(_metal(ellipse((start[0], start[1]), (2.6, 2.6)), 0.8))
    return parts
