"""Lesions as parts and boxes; those that move the column are drawn with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from spinert.phantom.column import Body, body_outline, endplate
from spinert.phantom.implants import implant_parts
from spinert.phantom.lateral import foramen
from spinert.phantom.plan import Kind, Lesion, Plan
from spinert.phantom.shapes import (
    Box,
    Part,
    Points,
    band,
    blob,
    box_around,
    ellipse,
    rounded,
)

__all__ = ["LABELS", "Drawn", "drawn_lesion"]

LABELS: Final = {
    Kind.SPURS: "Osteophytes",
    Kind.NARROW_DISC: "Disc space narrowing",
    Kind.SCREWS: "Surgical implant",
    Kind.CAGE: "Surgical implant",
    Kind.PLATE: "Surgical implant",
    Kind.STENOSIS: "Foraminal stenosis",
    Kind.SLIP: "Spondylolysthesis",
    Kind.WEDGE: "Vertebral collapse",
    Kind.BICONCAVE: "Vertebral collapse",
    Kind.CRUSH: "Vertebral collapse",
    Kind.SCLEROTIC: "Other lesions",
    Kind.LYTIC: "Other lesions",
    Kind.IVORY: "Other lesions",
    Kind.BLOCK: "Other lesions",
}
"""The class of VinDr-SpineXR under which a form of lesion is annotated."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A lesion in image coordinates (mm)."""

    parts: tuple[Part, ...]
    box: Box


def drawn_lesion(plan: Plan, column: tuple[Body, ...], lesion: Lesion) -> Drawn:
    """Return what a lesion adds to the image and the box about it.

    The box is the smallest about what was drawn. For a narrowed disc it is the disc
    with the endplates' sclerosis, for a slip the facing halves of both bodies, for a
    collapse the body, for a block vertebra both bodies.
    """
    if lesion.kind in {Kind.SCREWS, Kind.CAGE, Kind.PLATE}:
        return _boxed(implant_parts(plan, column, lesion))
    seed = [plan.patient.anatomy_seed, 61, lesion.level, lesion.side + 1]
    site = _Site(
        upper=column[lesion.level],
        lower=column[min(lesion.level + 1, len(column) - 1)],
        lesion=lesion,
        bone=plan.patient.bone,
        rng=np.random.default_rng(seed),
    )
    return _DRAWERS[lesion.kind](site)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Site:
    """Where one lesion is drawn."""

    upper: Body
    """The vertebra itself, or the one above the disc."""
    lower: Body
    lesion: Lesion
    bone: float
    rng: np.random.Generator


def _boxed(parts: tuple[Part, ...]) -> Drawn:
    return Drawn(parts=parts, box=box_around([part.outline for part in parts]))


def _spurs(site: _Site) -> Drawn:
    """Draw a beak on each corner next to a disc, one of them often small."""
    sizes = np.array((1.0, site.rng.uniform(0.35, 1.0)))
    if site.rng.random() < 0.5:
        sizes = sizes[::-1]
    strength = site.bone * (0.8 + 0.4 * site.lesion.severity)
    ends = ((site.upper, 1.0), (site.lower, -1.0))
    return _boxed(
        tuple(
            Part(
                outline=_spur(body, site, towards=towards, size=float(size)),
                core=0.22 * strength,
                round_mm=2.0,
                rim=0.18 * strength,
                rim_mm=1.2,
            )
            for (body, towards), size in zip(ends, sizes, strict=True)
        )
    )


def _spur(body: Body, site: _Site, *, towards: float, size: float) -> Points:
    """Return a beak on one corner; `towards` is 1 at the lower end, -1 at the upper."""
    side, severity = float(site.lesion.side), site.lesion.severity
    wall, height = side * body.breadth_mm / 2, body.height_mm
    edge = (body.left_mm if side < 0 else body.right_mm) / 2
    long = size * (0.16 + 0.14 * severity) * (5.0 + 0.85 * body.level.depth_mm)
    over = min(0.12 * height, 0.35 * site.upper.gap_mm)
    across = np.array((-0.6, -0.2, 0.3, 0.8, 1.25, 1.0, 0.3)) * side * long + wall
    down = edge + np.array(
        (
            -0.5,
            -0.32 * height,
            -0.17 * height,
            -0.06 * height,
            over,
            over * 0.9,
            over * 0.15,
        )
    )
    return body.frame.place(rounded(np.column_stack((across, towards * down))))


def _narrow_disc(site: _Site) -> Drawn:
    upper, lower, lesion, bone = site.upper, site.lower, site.lesion, site.bone
    thick = (0.06 + 0.05 * lesion.severity) * upper.height_mm
    above = endplate(upper, lower=True) - np.array((0, thick / 2))
    below = endplate(lower, lower=False) + np.array((0, thick / 2))
    outlines = (
        upper.frame.place(band(above, thick)),
        lower.frame.place(band(below, thick)),
    )
    core = (0.12 + 0.12 * lesion.severity) * bone
    return Drawn(
        parts=tuple(Part(outline=outline, core=core) for outline in outlines),
        box=box_around(outlines),
    )


def _stenosis(site: _Site) -> Drawn:
    body, lesion, bone, rng = site.upper, site.lesion, site.bone, site.rng
    hole, (u, v), (ru, rv) = foramen(body)
    # What is left open is a slit below the pedicle.
    left = 0.45 - 0.25 * lesion.severity
    filling = blob(rng, (u + 0.1 * ru, v + 0.05 * rv), (ru * 1.05, rv), 0.22)
    slit = ellipse((u - 0.35 * ru, v - 0.45 * rv), (ru * left, rv * left))
    place = body.frame.place
    return Drawn(
        parts=(
            Part(outline=place(hole), core=0.08, round_mm=2.0),
            Part(
                outline=place(filling),
                core=(0.29 + 0.13 * lesion.severity) * bone,
                round_mm=4.0,
                rim=0.07 * bone,
            ),
            Part(outline=place(slit), core=-0.22 * bone, round_mm=1.0),
        ),
        box=box_around([place(filling)]),
    )


def _slip(site: _Site) -> Drawn:
    halves = []
    for body, keep in ((site.upper, 1.0), (site.lower, -1.0)):
        outline = body_outline(body)
        halves.append(body.frame.place(outline[outline[:, 1] * keep >= 0.0]))
    return Drawn(parts=(), box=box_around(halves))


def _collapse(site: _Site) -> Drawn:
    body, bone = site.upper, site.bone
    outline = body.frame.place(body_outline(body))
    return Drawn(
        parts=(Part(outline=outline, core=0.09 * bone, round_mm=2.0),),
        box=box_around([outline]),
    )


def _focus(site: _Site) -> Drawn:
    body, lesion, bone, rng = site.upper, site.lesion, site.bone, site.rng
    height = body.height_mm
    radius = (0.24 + 0.14 * lesion.severity) * min(height, body.breadth_mm)
    room_u = max(body.breadth_mm / 2 - radius * 1.1, 0.0)
    room_v = max(height / 2 - radius * 1.05, 0.0)
    centre = (rng.uniform(-room_u, room_u), rng.uniform(-room_v, room_v))
    outline = body.frame.place(blob(rng, centre, (radius * 1.1, radius), 0.15))
    contrast = 0.75 + 0.5 * lesion.severity
    if lesion.kind is Kind.SCLEROTIC:
        part = Part(outline=outline, core=0.32 * contrast, round_mm=radius * 0.4)
    else:
        part = Part(
            outline=outline,
            core=-0.26 * contrast * bone,
            round_mm=radius * 0.2,
            rim=0.16 * bone,
            rim_mm=1.4,
        )
    return Drawn(parts=(part,), box=box_around([outline]))


def _ivory(site: _Site) -> Drawn:
    body = site.upper
    outline = body.frame.place(body_outline(body))
    core = 0.32 + 0.25 * site.lesion.severity
    return Drawn(
        parts=(Part(outline=outline, core=core, round_mm=2.0),),
        box=box_around([outline]),
    )


def _block(site: _Site) -> Drawn:
    upper, lower, bone = site.upper, site.lower, site.bone
    top = upper.frame.place(endplate(upper, lower=True) - np.array((0, 1.0)))
    bottom = lower.frame.place(endplate(lower, lower=False) + np.array((0, 1.0)))
    bridge = np.concatenate((top, bottom[::-1]))
    outlines = [b.frame.place(body_outline(b)) for b in (upper, lower)]
    return Drawn(
        parts=(Part(outline=bridge, core=0.34 * bone, rim=0.15 * bone, rim_mm=1.2),),
        box=box_around(outlines),
    )


_DRAWERS: Final[dict[Kind, Callable[[_Site], Drawn]]] = {
    Kind.SPURS: _spurs,
    Kind.NARROW_DISC: _narrow_disc,
    Kind.STENOSIS: _stenosis,
    Kind.SLIP: _slip,
    Kind.WEDGE: _collapse,
    Kind.BICONCAVE: _collapse,
    Kind.CRUSH: _collapse,
    Kind.SCLEROTIC: _focus,
    Kind.LYTIC: _focus,
    Kind.IVORY: _ivory,
    Kind.BLOCK: _block,
}
