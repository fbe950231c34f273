"""A plan from a seed: the patient, the field, the exposure, then the lesions."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from spinert.phantom.choosing import chosen_lesions
from spinert.phantom.levels import index_of_level
from spinert.phantom.plan import Exposure, Field, Patient, Plan
from spinert.phantom.truth import Projection, Region

__all__ = ["plan_from_seed"]

_REGION_SHARES: Final = {
    Region.LUMBAR: 0.5,
    Region.CERVICAL: 0.29,
    Region.THORACIC: 0.21,
}
_LATERAL_SHARE: Final = 0.58
_LONG_EDGES_PX: Final = (1000, 3000)

_HEIGHT_MM: Final = {
    Region.LUMBAR: (270.0, 375.0),
    Region.THORACIC: (300.0, 390.0),
    Region.CERVICAL: (165.0, 225.0),
}
_ASPECT: Final = {
    (Region.LUMBAR, Projection.LATERAL): (0.45, 0.72),
    (Region.LUMBAR, Projection.AP): (0.5, 0.85),
    (Region.THORACIC, Projection.LATERAL): (0.48, 0.75),
    (Region.THORACIC, Projection.AP): (0.45, 0.85),
    (Region.CERVICAL, Projection.LATERAL): (0.62, 1.02),
    (Region.CERVICAL, Projection.AP): (0.5, 0.78),
}
"""Width over height of the field."""
_MIDDLE: Final = {
    Region.LUMBAR: ("L2", "L3"),
    Region.THORACIC: ("T6", "T7", "T8"),
    Region.CERVICAL: ("C4", "C5"),
}


def plan_from_seed(
    seed: int,
    index: int,
    *,
    abnormal: bool | None = None,
    long_edge_px: int | None = None,
) -> Plan:
    """Return the plan of one phantom; arguments as of `phantom_from_seed`."""
    rng = np.random.default_rng([seed, index])
    abnormal_by_chance = bool(rng.random() < 0.5)
    by_chance_px = int(rng.triangular(_LONG_EDGES_PX[0], 2000, _LONG_EDGES_PX[1]))
    plan = _healthy(rng, long_edge_px or by_chance_px)
    if abnormal_by_chance if abnormal is None else abnormal:
        plan = replace(plan, lesions=chosen_lesions(plan, rng))
    return plan


def _healthy(rng: np.random.Generator, long_edge_px: int) -> Plan:
    regions = tuple(_REGION_SHARES)
    region = regions[int(rng.choice(len(regions), p=tuple(_REGION_SHARES.values())))]
    lateral = rng.random() < _LATERAL_SHARE
    projection = Projection.LATERAL if lateral else Projection.AP
    field = _field(region, projection, rng)
    return Plan(
        patient=_patient(region, projection, rng),
        lesions=(),
        field=field,
        exposure=_exposure(region, rng),
        long_edge_px=long_edge_px,
        noise_seed=int(rng.integers(2**31)),
    )


def _patient(
    region: Region, projection: Projection, rng: np.random.Generator
) -> Patient:
    lateral = projection is Projection.LATERAL
    return Patient(
        region=region,
        projection=projection,
        faces_right=bool(lateral and rng.random() < 0.35),
        size=float(np.clip(rng.normal(1.12, 0.06), 0.98, 1.26)),
        curve=float(rng.uniform(0.65, 1.25)),
        tilt_rad=float(rng.normal(0.0, 0.045 if lateral else 0.02)),
        bend_rad=0.0 if lateral else float(rng.uniform(0.0, 0.045)),
        turn=float(np.clip(rng.normal(0.0, 0.05), -0.12, 0.12)),
        bone=float(np.clip(rng.normal(1.0, 0.18), 0.65, 1.4)),
        girth=float(np.clip(rng.normal(1.0, 0.1), 0.82, 1.3)),
        anatomy_seed=int(rng.integers(2**31)),
    )


def _field(region: Region, projection: Projection, rng: np.random.Generator) -> Field:
    height = float(rng.uniform(*_HEIGHT_MM[region]))
    width = height * float(rng.uniform(*_ASPECT[region, projection]))
    margins = [0.0, 0.0, 0.0, 0.0]
    if rng.random() < 0.5:
        edges = rng.uniform(0.0, 0.05, 4) * (width, height, width, height)
        margins = [float(edge) if edge > 3.0 else 0.0 for edge in edges]
    names = _MIDDLE[region]
    if projection is Projection.LATERAL:
        ahead = {Region.LUMBAR: 0.06, Region.THORACIC: 0.08, Region.CERVICAL: 0.03}
        aside = width * (ahead[region] + float(rng.normal(0.0, 0.03)))
    else:
        aside = width * float(rng.normal(0.0, 0.025))
    return Field(
        width_mm=width,
        height_mm=height,
        level=index_of_level(names[int(rng.integers(len(names)))]),
        offset_mm=(aside, height * float(rng.uniform(-0.05, 0.05))),
        margins_mm=(margins[0], margins[1], margins[2], margins[3]),
    )


def _exposure(region: Region, rng: np.random.Generator) -> Exposure:
    thin = region is Region.CERVICAL
    return Exposure(
        scatter=float(rng.uniform(0.15, 0.6)) * (0.5 if thin else 1.0),
        heel=float(rng.uniform(-0.3, 0.3)),
        noise=float(rng.uniform(0.015, 0.05)),
        blur_mm=float(rng.uniform(0.1, 0.25)),
        equalisation=float(rng.uniform(0.35, 0.7)),
        detail=float(rng.uniform(0.1, 0.7)),
        gamma=float(rng.uniform(0.65, 1.15)),
        shuttered=bool(rng.random() < 0.75),
        bits_stored=int(rng.choice((10, 12, 12, 12, 14, 15, 16))),
        inverted=bool(rng.random() < 0.3),
        windowed=bool(rng.random() < 0.7),
        marker=("", "L", "R")[int(rng.choice(3, p=(0.35, 0.35, 0.3)))],
    )
