"""What is planned: shares of classes, plausible places, normal images normal."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from spinert.phantom.column import column_from_plan
from spinert.phantom.pathology import LABELS, drawn_lesion
from spinert.phantom.plan import Kind, Plan
from spinert.phantom.planning import plan_from_seed
from spinert.phantom.truth import LESIONS, Projection, Region

DEFORMING = {Kind.NARROW_DISC, Kind.SLIP, Kind.WEDGE, Kind.BICONCAVE, Kind.CRUSH}


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    return [plan_from_seed(1, index) for index in range(800)]


@pytest.fixture(scope="module")
def abnormal(plans: list[Plan]) -> list[Plan]:
    return [plan for plan in plans if plan.lesions]


def labels(plan: Plan) -> set[str]:
    return {LABELS[lesion.kind] for lesion in plan.lesions}


def test_about_half_of_a_series_is_abnormal(
    plans: list[Plan], abnormal: list[Plan]
) -> None:
    assert 0.43 < len(abnormal) / len(plans) < 0.57


def test_every_class_is_frequent_enough_to_be_learnt(abnormal: list[Plan]) -> None:
    images = Counter(label for plan in abnormal for label in labels(plan))
    assert set(images) == set(LESIONS)
    for label in LESIONS:
        assert images[label] / len(abnormal) > 0.08
    assert images.most_common(1)[0][0] == "Osteophytes"


def test_every_form_of_lesion_and_every_view_occurs(plans: list[Plan]) -> None:
    kinds = {lesion.kind for plan in plans for lesion in plan.lesions}
    assert kinds == set(Kind)
    views = Counter((p.patient.region, p.patient.projection) for p in plans)
    assert set(views) == {(r, p) for r in Region for p in Projection}
    assert min(views.values()) > 40


def test_stenosis_and_slip_are_seen_from_the_side_only(abnormal: list[Plan]) -> None:
    for plan in abnormal:
        if plan.patient.projection is Projection.AP:
            assert not labels(plan) & {"Foraminal stenosis", "Spondylolysthesis"}


def test_every_box_lies_inside_the_collimated_field(abnormal: list[Plan]) -> None:
    for plan in abnormal:
        left, top, right, bottom = plan.field.margins_mm
        if plan.patient.faces_right:
            left, right = right, left
        column = column_from_plan(plan)
        for lesion in plan.lesions:
            x0, y0, x1, y1 = drawn_lesion(plan, column, lesion).box
            assert left < x0 + plan.field.width_mm / 2
            assert top < y0 + plan.field.height_mm / 2
            assert right < plan.field.width_mm / 2 - x1
            assert bottom < plan.field.height_mm / 2 - y1


def test_most_boxes_are_large_enough_for_a_small_detector(
    abnormal: list[Plan],
) -> None:
    short_px = []
    for plan in abnormal:
        column = column_from_plan(plan)
        scale = 512 / max(plan.field.height_mm, plan.field.width_mm)
        for lesion in plan.lesions:
            x0, y0, x1, y1 = drawn_lesion(plan, column, lesion).box
            short_px.append(min(x1 - x0, y1 - y0) * scale)
    assert np.quantile(short_px, 0.1) >= 12
    assert min(short_px) >= 6


def test_a_vertebra_has_one_deformity_at_most(abnormal: list[Plan]) -> None:
    for plan in abnormal:
        places = Counter(
            (lesion.level, lesion.kind is Kind.SPURS, lesion.kind is Kind.STENOSIS)
            for lesion in plan.lesions
            if lesion.kind in DEFORMING
        )
        assert max(places.values(), default=0) <= 1


def test_a_plan_does_not_depend_on_the_resolution() -> None:
    for index in range(20):
        small = plan_from_seed(2, index, long_edge_px=500)
        large = plan_from_seed(2, index, long_edge_px=2500)
        assert small.lesions == large.lesions
        assert small.patient == large.patient
        assert small.field == large.field


def test_asking_for_an_abnormal_image_keeps_the_patient() -> None:
    for index in range(20):
        normal = plan_from_seed(2, index, abnormal=False)
        sick = plan_from_seed(2, index, abnormal=True)
        assert normal.lesions == ()
        assert sick.lesions
        assert normal.patient == sick.patient


def test_sizes_vary_between_one_and_three_thousand_pixels(plans: list[Plan]) -> None:
    edges = [plan.long_edge_px for plan in plans]
    assert min(edges) >= 1000
    assert max(edges) <= 3000
    assert np.std(edges) > 200
