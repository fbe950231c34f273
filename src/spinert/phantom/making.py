"""Phantoms from a seed, or from a plan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinert.phantom.column import Body, body_outline, column_from_plan
from spinert.phantom.frontal import frontal_vertebra
from spinert.phantom.imaging import stored_from_attenuation
from spinert.phantom.lateral import lateral_vertebra
from spinert.phantom.levels import LEVELS
from spinert.phantom.marker import marker_parts
from spinert.phantom.pathology import LABELS, drawn_lesion
from spinert.phantom.plan import Plan
from spinert.phantom.planning import plan_from_seed
from spinert.phantom.raster import Grid, resized, stamp
from spinert.phantom.shapes import Box, Grain, Part, box_around
from spinert.phantom.skeleton import skeleton
from spinert.phantom.soft import organs, tissue_map
from spinert.phantom.truth import Phantom, Projection, Region, TrueFinding, Vertebra

__all__ = ["phantom_from_plan", "phantom_from_seed"]

_SOFT_MM = 1.8
_SKELETON_MM = 0.5
_BONE_CONTRAST = {Region.CERVICAL: 2.0, Region.THORACIC: 1.6, Region.LUMBAR: 1.6}
"""Softer beams for thinner parts of the body: bone stands out more."""
_LEAST_SHARE = 0.35
"""A vertebra is listed where at least this share of its box is in the field."""


def phantom_from_seed(
    seed: int,
    index: int,
    *,
    abnormal: bool | None = None,
    long_edge_px: int | None = None,
) -> Phantom:
    """Make one radiograph with its truth.

    The same arguments give the same pixels on one build of NumPy and Pillow;
    neighbouring indices are independent.

    Args:
        seed: Of a series of phantoms, 0 or more.
        index: Of the phantom in its series, 0 or more.
        abnormal: Whether it has findings; half of a series has where not given.
        long_edge_px: Size of the longer side; 1,000 to 3,000 where not given. The
            anatomy does not depend on it.
    """
    plan = plan_from_seed(seed, index, abnormal=abnormal, long_edge_px=long_edge_px)
    return phantom_from_plan(plan)


def phantom_from_plan(plan: Plan) -> Phantom:
    """Draw a plan."""
    column = column_from_plan(plan)
    grid = _grid_from_plan(plan)
    attenuation = _attenuation(plan, column, grid)
    stored = stored_from_attenuation(attenuation, plan, grid)
    findings = []
    for lesion in plan.lesions:
        box = drawn_lesion(plan, column, lesion).box
        findings.append(
            TrueFinding(label=LABELS[lesion.kind], box=_box_px(box, plan, grid))
        )
    return Phantom(
        pixels=stored.pixels,
        bits_stored=plan.exposure.bits_stored,
        photometric="MONOCHROME1" if plan.exposure.inverted else "MONOCHROME2",
        pixel_spacing_mm=plan.spacing_mm,
        window=stored.window,
        projection=plan.patient.projection,
        region=plan.patient.region,
        faces_right=plan.patient.faces_right,
        findings=tuple(findings),
        vertebrae=_vertebrae(plan, column, grid),
    )


def _grid_from_plan(plan: Plan) -> Grid:
    """Return the pixels of the detector; the field is cut to whole pixels."""
    spacing = plan.spacing_mm
    return Grid(
        rows=round(plan.field.height_mm / spacing),
        columns=round(plan.field.width_mm / spacing),
        step_mm=(spacing, spacing),
        origin_mm=(-plan.field.width_mm / 2, -plan.field.height_mm / 2),
    )


def _attenuation(
    plan: Plan, column: tuple[Body, ...], grid: Grid
) -> NDArray[np.float32]:
    """Return line integrals (rows, columns), as the detector sees the patient."""
    parts: list[Part] = []
    for at, body in enumerate(column):
        if _near_field(body, plan):
            rng = np.random.default_rng([plan.patient.anatomy_seed, 71, at])
            parts += _vertebra(plan, body, rng)
    for lesion in plan.lesions:
        parts += drawn_lesion(plan, column, lesion).parts
    total = _spine(plan, grid, parts)
    total += resized(_surroundings(plan, column, grid), grid)
    metal = [part for part in parts if part.grain is Grain.METAL]
    stamp(total, grid, metal)
    if plan.patient.faces_right:
        total = np.ascontiguousarray(total[:, ::-1])
    stamp(total, grid, marker_parts(plan))
    return total


def _spine(plan: Plan, grid: Grid, parts: list[Part]) -> NDArray[np.float32]:
    fine = grid.zeros()
    stamp(fine, grid, (part for part in parts if part.grain is Grain.SPINE))
    texture = _trabeculae(plan, grid.coarser(_SKELETON_MM), 0.13)
    texture += 1.0
    texture *= np.float32(_BONE_CONTRAST[plan.patient.region])
    fine *= resized(texture, grid)
    return fine


def _surroundings(
    plan: Plan, column: tuple[Body, ...], grid: Grid
) -> NDArray[np.float32]:
    """Return everything but the spine, on a coarser grid."""
    bone_grid, soft_grid = grid.coarser(_SKELETON_MM), grid.coarser(_SOFT_MM)
    bones = bone_grid.zeros()
    stamp(bones, bone_grid, skeleton(plan, column))
    bones *= 1.0 + _trabeculae(plan, bone_grid, 0.06)
    bones *= np.float32(_BONE_CONTRAST[plan.patient.region])
    soft = tissue_map(plan, column, soft_grid)
    stamp(soft, soft_grid, organs(plan, column))
    bones += resized(np.maximum(soft, 0.0), bone_grid)
    return bones


def _trabeculae(plan: Plan, grid: Grid, amplitude: float) -> NDArray[np.float32]:
    """Return the relative texture of bone: mostly upright struts."""
    rng = np.random.default_rng([plan.patient.anatomy_seed, 72])
    width = grid.columns * grid.step_mm[0]
    height = grid.rows * grid.step_mm[1]
    total = grid.zeros()
    for across_mm, down_mm, share in (
        (0.7, 1.9, 0.8),
        (1.6, 3.0, 0.6),
        (4.5, 5.5, 0.9),
    ):
        shape = (max(2, round(height / down_mm)), max(2, round(width / across_mm)))
        struts = rng.standard_normal(shape, np.float32)
        total += resized(struts, grid) * np.float32(amplitude * share)
    return total


def _vertebra(plan: Plan, body: Body, rng: np.random.Generator) -> tuple[Part, ...]:
    patient = plan.patient
    if patient.projection is Projection.LATERAL:
        return lateral_vertebra(body, bone=patient.bone, rng=rng)
    return frontal_vertebra(body, bone=patient.bone, turn=patient.turn, rng=rng)


def _near_field(body: Body, plan: Plan) -> bool:
    far = 2.5 * body.breadth_mm
    return abs(body.frame.x_mm) < plan.field.width_mm / 2 + far and plan.field.reaches(
        body.frame.y_mm, 2.2 * body.level.height_mm
    )


def _box_px(box: Box, plan: Plan, grid: Grid) -> Box:
    """Return a box in pixels, clipped to the collimated field."""
    x0, y0, x1, y1 = box
    if plan.patient.faces_right:
        x0, x1 = -x1, -x0
    left, top, right, bottom = plan.field.margins_mm
    spacing = plan.spacing_mm
    low = (left / spacing, top / spacing)
    high = (grid.columns - right / spacing, grid.rows - bottom / spacing)
    ox, oy = grid.origin_mm
    return (
        min(max((x0 - ox) / spacing, low[0]), high[0]),
        min(max((y0 - oy) / spacing, low[1]), high[1]),
        min(max((x1 - ox) / spacing, low[0]), high[0]),
        min(max((y1 - oy) / spacing, low[1]), high[1]),
    )


def _vertebrae(
    plan: Plan, column: tuple[Body, ...], grid: Grid
) -> tuple[Vertebra, ...]:
    found = []
    for level, body in zip(LEVELS, column, strict=True):
        whole = box_around([body.frame.place(body_outline(body))])
        box = _box_px(whole, plan, grid)
        area = (whole[2] - whole[0]) * (whole[3] - whole[1]) / plan.spacing_mm**2
        seen = (box[2] - box[0]) * (box[3] - box[1]) / area
        if level.part != "S" and seen >= _LEAST_SHARE:
            found.append(Vertebra(level=level.name, box=box))
    return tuple(found)
