"""Lesions show where their box is; normal variation stays clear of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import cos, sin

import numpy as np
import pytest
from support.phantom_plans import healthy_plan, lesion

from spinert.phantom.column import Body, column_from_plan, endplate
from spinert.phantom.levels import index_of_level
from spinert.phantom.making import phantom_from_plan
from spinert.phantom.plan import Kind, Lesion, Plan
from spinert.phantom.planning import plan_from_seed
from spinert.phantom.truth import Projection, Region

LATERAL, AP = Projection.LATERAL, Projection.AP

LOCAL = [
    (Region.LUMBAR, LATERAL, lesion(Kind.SPURS, "L2", last="L3")),
    (Region.LUMBAR, AP, lesion(Kind.SPURS, "L2", last="L3")),
    (Region.THORACIC, LATERAL, lesion(Kind.SPURS, "T7", last="T8")),
    (Region.CERVICAL, LATERAL, lesion(Kind.SPURS, "C5", last="C6")),
    (Region.LUMBAR, LATERAL, lesion(Kind.SCREWS, "L3", last="L4")),
    (Region.LUMBAR, AP, lesion(Kind.SCREWS, "L2", last="L4")),
    (Region.LUMBAR, AP, lesion(Kind.CAGE, "L3", last="L4")),
    (Region.CERVICAL, LATERAL, lesion(Kind.PLATE, "C4", last="C6")),
    (Region.CERVICAL, AP, lesion(Kind.PLATE, "C5", last="C6")),
    (Region.LUMBAR, LATERAL, lesion(Kind.STENOSIS, "L3", last="L4")),
    (Region.CERVICAL, LATERAL, lesion(Kind.STENOSIS, "C4", last="C5")),
    (Region.LUMBAR, LATERAL, lesion(Kind.SCLEROTIC, "L3")),
    (Region.THORACIC, AP, lesion(Kind.SCLEROTIC, "T8")),
    (Region.LUMBAR, AP, lesion(Kind.LYTIC, "L2")),
    (Region.THORACIC, LATERAL, lesion(Kind.IVORY, "T8")),
    (Region.LUMBAR, LATERAL, lesion(Kind.BLOCK, "L2", last="L3")),
]


@pytest.mark.parametrize(("region", "projection", "added"), LOCAL)
def test_a_lesion_changes_the_image_inside_its_box_only(
    region: Region, projection: Projection, added: Lesion
) -> None:
    healthy = healthy_plan(region, projection)
    sick = replace(healthy, lesions=(added,))
    before, after = phantom_from_plan(healthy), phantom_from_plan(sick)
    span = 2.0**before.bits_stored
    change = np.abs(after.pixels.astype(float) - before.pixels) / span
    xmin, ymin, xmax, ymax = (round(value) for value in after.findings[0].box)
    inside = np.zeros(change.shape, bool)
    inside[ymin:ymax, xmin:xmax] = True
    halo = np.zeros(change.shape, bool)
    halo[max(ymin - 3, 0) : ymax + 3, max(xmin - 3, 0) : xmax + 3] = True
    assert change[inside].mean() > 0.01
    assert change[inside].mean() > 8 * change[~halo].mean()


@pytest.mark.parametrize(("region", "projection", "added"), LOCAL)
def test_the_box_is_tight(
    region: Region, projection: Projection, added: Lesion
) -> None:
    healthy = healthy_plan(region, projection)
    before = phantom_from_plan(healthy)
    after = phantom_from_plan(replace(healthy, lesions=(added,)))
    change = np.abs(after.pixels.astype(float) - before.pixels)
    seen = change > 0.15 * np.quantile(change, 0.9999)
    rows, columns = np.nonzero(seen)
    drawn = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    xmin, ymin, xmax, ymax = after.findings[0].box
    allowed = 5 + 0.2 * max(xmax - xmin, ymax - ymin)
    if added.kind is Kind.BLOCK:
        # Only the disc changes; the box holds both fused bodies.
        assert xmin - 3 <= drawn[0]
        assert drawn[2] <= xmax + 3
        return
    assert np.array(drawn) == pytest.approx(after.findings[0].box, abs=allowed)


def body_of(plan: Plan, level: str) -> Body:
    return column_from_plan(plan)[index_of_level(level)]


@pytest.mark.parametrize("projection", [LATERAL, AP])
@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_a_narrow_disc_has_half_its_height_at_most(
    projection: Projection, severity: float
) -> None:
    plan = healthy_plan(Region.LUMBAR, projection)
    narrow = lesion(Kind.NARROW_DISC, "L3", last="L4", severity=severity)
    sick = replace(plan, lesions=(narrow,))
    assert body_of(sick, "L3").gap_mm <= 0.51 * body_of(plan, "L3").gap_mm
    assert body_of(sick, "L3").gap_mm >= 0.1 * body_of(plan, "L3").gap_mm
    assert body_of(sick, "L2").gap_mm == body_of(plan, "L2").gap_mm


@pytest.mark.parametrize("kind", [Kind.WEDGE, Kind.BICONCAVE, Kind.CRUSH])
@pytest.mark.parametrize("projection", [LATERAL, AP])
def test_a_collapsed_vertebra_has_lost_a_quarter_of_its_height_somewhere(
    kind: Kind, projection: Projection
) -> None:
    plan = healthy_plan(Region.LUMBAR, projection)
    sick = replace(plan, lesions=(lesion(kind, "L2"),))
    assert least_height_mm(body_of(sick, "L2")) <= 0.75 * least_height_mm(
        body_of(plan, "L2")
    )
    for other in ("L1", "L3"):
        assert body_of(sick, other).height_mm == body_of(plan, other).height_mm


def least_height_mm(body: Body) -> float:
    top, bottom = endplate(body, lower=False), endplate(body, lower=True)
    return float((bottom[:, 1] - top[:, 1]).min())


@pytest.mark.parametrize("side", [-1, 1])
def test_a_slipped_vertebra_has_left_its_neighbour(side: int) -> None:
    plan = healthy_plan(Region.LUMBAR, LATERAL)
    slip = replace(lesion(Kind.SLIP, "L4", last="L5"), side=side)
    sick = replace(plan, lesions=(slip,))
    depth = body_of(plan, "L4").breadth_mm
    assert abs(step_mm(body_of(plan, "L4"), body_of(plan, "L5"))) < 0.06 * depth
    # The front is on the left: a slip to the front moves the upper body left.
    slipped = body_of(sick, "L4")
    assert step_mm(slipped, body_of(sick, "L5")) * side > 0.14 * depth
    assert abs(step_mm(body_of(sick, "L3"), slipped)) < 0.06 * depth


def step_mm(upper: Body, lower: Body) -> float:
    """Return how far the upper body lies to the right along the disc."""
    above, below = upper.frame, lower.frame
    angle = (above.angle_rad + below.angle_rad) / 2
    dx, dy = above.x_mm - below.x_mm, above.y_mm - below.y_mm
    return dx * cos(angle) - dy * sin(angle)


def test_normal_columns_stay_clear_of_every_threshold() -> None:
    for index in range(150):
        plan = plan_from_seed(3, index, abnormal=False)
        column = column_from_plan(plan)
        for body, below in pairwise(column[:23]):
            shrink = cos(body.tilt_rad) * plan.patient.size
            assert body.gap_mm > 0.75 * body.level.disc_mm * shrink
            assert min(body.left_mm, body.right_mm) > 0.88 * max(
                body.left_mm, body.right_mm
            )
            assert body.height_mm > 0.9 * body.level.height_mm * shrink
            assert abs(step_mm(body, below)) < 0.08 * body.breadth_mm


def test_collapse_box_is_the_box_of_its_vertebra() -> None:
    plan = healthy_plan(Region.LUMBAR, LATERAL)
    sick = replace(plan, lesions=(lesion(Kind.WEDGE, "L2", severity=1.0),))
    phantom = phantom_from_plan(replace(sick, long_edge_px=300))
    bodies = {vertebra.level: vertebra.box for vertebra in phantom.vertebrae}
    assert phantom.findings[0].box == bodies["L2"]


@pytest.mark.parametrize("kind", [Kind.NARROW_DISC, Kind.SLIP])
def test_lesions_of_a_disc_lie_between_their_vertebrae(kind: Kind) -> None:
    plan = healthy_plan(Region.LUMBAR, LATERAL)
    sick = replace(plan, lesions=(lesion(kind, "L2", last="L3"),))
    phantom = phantom_from_plan(replace(sick, long_edge_px=300))
    bodies = {vertebra.level: vertebra.box for vertebra in phantom.vertebrae}
    xmin, ymin, xmax, ymax = phantom.findings[0].box
    assert bodies["L2"][1] < ymin < bodies["L2"][3]
    assert bodies["L3"][1] < ymax < bodies["L3"][3]
    assert xmin >= min(bodies["L2"][0], bodies["L3"][0]) - 1
    assert xmax <= max(bodies["L2"][2], bodies["L3"][2]) + 1
