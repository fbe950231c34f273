"""Plans of phantoms with a known view and known lesions."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from spinert.phantom.levels import index_of_level
from spinert.phantom.plan import Kind, Lesion, Plan
from spinert.phantom.planning import plan_from_seed
from spinert.phantom.truth import Projection, Region

SEED = 20


@cache
def healthy_plan(
    region: Region, projection: Projection, long_edge_px: int = 640
) -> Plan:
    """Return the first plan of a view, without collimation and lead letter."""
    for index in range(400):
        plan = plan_from_seed(SEED, index, abnormal=False, long_edge_px=long_edge_px)
        patient = plan.patient
        if patient.region is region and patient.projection is projection:
            return replace(
                plan,
                field=replace(plan.field, margins_mm=(0.0, 0.0, 0.0, 0.0)),
                exposure=replace(plan.exposure, marker=""),
            )
    raise AssertionError(f"no {region} {projection} in 400 phantoms")


def lesion(kind: Kind, level: str, *, last: str = "", severity: float = 0.0) -> Lesion:
    return Lesion(
        kind=kind,
        level=index_of_level(level),
        last=index_of_level(last or level),
        side=-1,
        severity=severity,
    )
