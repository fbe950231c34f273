"""Soft tissue: the contour of the body, organs, air and gas."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinert.phantom.chest import air_spaces
from spinert.phantom.column import Body, position_mm
from spinert.phantom.levels import index_of_level
from spinert.phantom.plan import Plan
from spinert.phantom.raster import Grid, resized, smoothed
from spinert.phantom.shapes import Grain, Part, blob, soft_part
from spinert.phantom.truth import Projection, Region

__all__ = ["organs", "tissue_map"]

_PER_MM: Final = 0.0185
"""Attenuation of soft tissue in a beam of about 80 kV behind a patient."""

# Level, skin in front of and behind the body's middle, thickness along the beam; mm.
_LATERAL: Final = (
    ("C2", 82.0, 62.0, 140.0),
    ("C4", 52.0, 56.0, 118.0),
    ("C6", 48.0, 62.0, 128.0),
    ("C7", 54.0, 72.0, 190.0),
    ("T1", 66.0, 80.0, 290.0),
    ("T3", 95.0, 78.0, 340.0),
    ("T6", 135.0, 66.0, 310.0),
    ("T10", 155.0, 62.0, 290.0),
    ("L1", 145.0, 62.0, 275.0),
    ("L3", 132.0, 66.0, 280.0),
    ("L5", 138.0, 82.0, 315.0),
    ("S3", 165.0, 72.0, 345.0),
)
_FRONTAL: Final = (
    ("C2", 70.0, 70.0, 150.0),
    ("C4", 59.0, 59.0, 128.0),
    ("C6", 61.0, 61.0, 122.0),
    ("C7", 82.0, 82.0, 130.0),
    ("T1", 160.0, 160.0, 145.0),
    ("T3", 192.0, 192.0, 180.0),
    ("T6", 168.0, 168.0, 205.0),
    ("T10", 156.0, 156.0, 212.0),
    ("L1", 150.0, 150.0, 205.0),
    ("L3", 148.0, 148.0, 205.0),
    ("L5", 165.0, 165.0, 212.0),
    ("S3", 188.0, 188.0, 225.0),
)


def tissue_map(plan: Plan, column: tuple[Body, ...], grid: Grid) -> NDArray[np.float32]:
    """Return the attenuation of the body without bones, lungs and gas, on a grid."""
    patient = plan.patient
    lateral = patient.projection is Projection.LATERAL
    table = _LATERAL if lateral else _FRONTAL
    rows = [column[index_of_level(name)].frame.y_mm for name, *_ in table]
    y = grid.origin_mm[1] + (np.arange(grid.rows) + 0.5) * grid.step_mm[1]
    x = grid.origin_mm[0] + (np.arange(grid.columns) + 0.5) * grid.step_mm[0]
    scale = patient.size * patient.girth
    sizes = np.array([entry[1:] for entry in table], np.float64)
    front, back, thick = (
        _soft_steps(np.interp(y, rows, sizes[:, at])) * scale for at in range(3)
    )
    spine = np.interp(y, [b.frame.y_mm for b in column], [b.frame.x_mm for b in column])
    spine = _soft_steps(spine) if lateral else np.full_like(spine, spine.mean())
    middle, half = spine + (back - front) / 2, (back + front) / 2
    across = np.abs(x[None, :] - middle[:, None]) / half[:, None]
    profile = np.sqrt(np.clip(1.0 - across**2.6, 0.0, None))
    tissue = (thick[:, None] * profile * _PER_MM).astype(np.float32)
    # A pixel of smoothing keeps the skin line free of steps when it is enlarged.
    return smoothed(tissue * (1.0 + _clouds(plan, grid)), 1.0)


def _soft_steps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth a profile over about a tenth of the field, ends extended."""
    reach = max(1, len(values) // 20)
    padded = np.pad(values, reach, mode="edge")
    kernel = np.hanning(2 * reach + 3)[1:-1]
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def _clouds(plan: Plan, grid: Grid) -> NDArray[np.float32]:
    """Return relative unevenness of the tissue: fat, vessels, folds."""
    rng = np.random.default_rng([plan.patient.anatomy_seed, 21])
    height = grid.rows * grid.step_mm[1]
    width = grid.columns * grid.step_mm[0]
    quiet = 0.45 if plan.patient.region is Region.CERVICAL else 1.0
    total = grid.zeros()
    for period_mm, amplitude in (
        (70.0, 0.030),
        (26.0, 0.018),
        (10.0, 0.012),
        (4.0, 0.006),
    ):
        shape = (round(height / period_mm) + 3, round(width / period_mm) + 3)
        waves = rng.standard_normal(shape, np.float32)
        total += resized(waves, grid) * np.float32(amplitude * quiet)
    return total


def organs(plan: Plan, column: tuple[Body, ...]) -> tuple[Part, ...]:
    """Return lungs, organs and gas: they sit on the contour of the body."""
    rng = np.random.default_rng([plan.patient.anatomy_seed, 22])
    parts = list(air_spaces(plan, column, rng))
    if plan.field.reaches(position_mm(column, "L3")[1], 200.0):
        if plan.patient.projection is Projection.AP:
            parts += _muscles(plan, column)
        gas = np.random.default_rng([plan.patient.anatomy_seed, 23])
        parts += _gas(plan, column, gas)
    return tuple(parts)


def _muscles(plan: Plan, column: tuple[Body, ...]) -> list[Part]:
    """Return psoas muscles and the liver."""
    s = plan.patient.size
    top, low = position_mm(column, "T12"), position_mm(column, "S2")
    parts = []
    for side in (-1.0, 1.0):
        psoas = [
            (top[0] + side * 20 * s, top[1] + 10),
            (top[0] + side * 32 * s, top[1] + 35),
            (low[0] + side * 72 * s, low[1] - 40),
            (low[0] + side * 70 * s, low[1]),
            (low[0] + side * 40 * s, low[1] - 30),
        ]
        parts.append(soft_part(psoas, 0.12, 8.0))
    liver = [
        (top[0] - 20 * s, top[1] - 45),
        (top[0] - 135 * s, top[1] - 50),
        (top[0] - 140 * s, top[1] + 75),
        (top[0] - 95 * s, top[1] + 60),
    ]
    return [*parts, soft_part(liver, 0.22, 20.0)]


def _gas(plan: Plan, column: tuple[Body, ...], rng: np.random.Generator) -> list[Part]:
    """Return bowel gas and stool: clusters of bubbles in the belly."""
    s = plan.patient.size
    lateral = plan.patient.projection is Projection.LATERAL
    top, low = position_mm(column, "L1"), position_mm(column, "S3")
    parts = []
    for _ in range(int(rng.integers(3, 10))):
        if lateral:
            x = top[0] - rng.uniform(38, 120) * s
        else:
            x = top[0] + rng.choice((-1, 1)) * rng.uniform(15, 120) * s
        y = rng.uniform(top[1] - 10, low[1] + 20)
        strength = rng.uniform(0.12, 0.6)
        spread, size = rng.uniform(6, 26), rng.uniform(5, 15)
        for _ in range(int(rng.integers(2, 10))):
            middle = (x + rng.normal(0, spread), y + rng.normal(0, spread * 0.7))
            radius = size * rng.uniform(0.35, 1.3)
            outline = blob(rng, middle, (radius * 1.15, radius * 0.85), 0.3)
            parts.append(
                Part(
                    outline=outline,
                    core=-strength * rng.uniform(0.5, 1.1),
                    round_mm=radius * 0.8,
                    grain=Grain.SOFT,
                )
            )
    return parts
