"""Phantoms as a receiver sees them: pixels, truth, and that both repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.phantom_plans import healthy_plan, lesion

from spinert.phantom.levels import LEVELS
from spinert.phantom.making import phantom_from_plan, phantom_from_seed
from spinert.phantom.plan import Kind
from spinert.phantom.truth import LESIONS, Phantom, Projection, Region

VIEWS = [(region, projection) for region in Region for projection in Projection]
OWN_LEVELS = {Region.CERVICAL: "C5", Region.THORACIC: "T7", Region.LUMBAR: "L3"}


def grey_from(phantom: Phantom) -> np.ndarray:
    """Return brightness, 0 to 1, as the window says."""
    values = phantom.pixels.astype(np.float32)
    low, width = 0.0, float(2**phantom.bits_stored - 1)
    if phantom.window is not None:
        low, width = (
            phantom.window.center - phantom.window.width / 2,
            phantom.window.width,
        )
    grey = np.clip((values - low) / width, 0.0, 1.0)
    return 1.0 - grey if phantom.photometric == "MONOCHROME1" else grey


def test_the_same_seed_gives_the_same_bytes() -> None:
    first = phantom_from_seed(7, 3, long_edge_px=400)
    second = phantom_from_seed(7, 3, long_edge_px=400)
    assert first.pixels.tobytes() == second.pixels.tobytes()
    assert replace(first, pixels=second.pixels) == second


@pytest.mark.parametrize("other", [(7, 4), (8, 3)])
def test_another_seed_or_index_gives_another_image(other: tuple[int, int]) -> None:
    first = phantom_from_seed(7, 3, long_edge_px=300)
    second = phantom_from_seed(*other, long_edge_px=300)
    same_shape = first.pixels.shape == second.pixels.shape
    assert not same_shape or np.mean(first.pixels != second.pixels) > 0.5


@pytest.mark.parametrize(("region", "projection"), VIEWS)
def test_every_view_renders_with_its_own_levels(
    region: Region, projection: Projection
) -> None:
    phantom = phantom_from_plan(healthy_plan(region, projection))
    assert (phantom.region, phantom.projection) == (region, projection)
    assert OWN_LEVELS[region] in [vertebra.level for vertebra in phantom.vertebrae]
    assert max(phantom.pixels.shape) == 640
    grey = grey_from(phantom)
    assert grey.std() > 0.08
    assert np.mean(grey >= 1.0) < 0.2


@pytest.mark.parametrize("index", range(8))
def test_stored_values_fit_and_use_the_stated_range(index: int) -> None:
    phantom = phantom_from_seed(9, index, long_edge_px=300)
    assert phantom.pixels.dtype == np.uint16
    assert 10 <= phantom.bits_stored <= 16
    assert phantom.pixels.max() < 2**phantom.bits_stored
    assert np.ptp(phantom.pixels) > 0.3 * 2**phantom.bits_stored
    if phantom.window is not None:
        assert phantom.window.width >= 1
        inside = np.abs(phantom.pixels.astype(float) - phantom.window.center)
        assert np.mean(inside <= phantom.window.width / 2 + 1) > 0.99


def test_both_polarities_show_the_same_brightness() -> None:
    plan = healthy_plan(Region.LUMBAR, Projection.AP)
    dark, light = (
        phantom_from_plan(
            replace(plan, exposure=replace(plan.exposure, inverted=inverted))
        )
        for inverted in (False, True)
    )
    assert (dark.photometric, light.photometric) == ("MONOCHROME2", "MONOCHROME1")
    assert np.abs(grey_from(dark) - grey_from(light)).max() < 0.01


def test_truth_does_not_depend_on_the_resolution() -> None:
    small, large = (
        phantom_from_seed(5, 2, abnormal=True, long_edge_px=edge) for edge in (400, 800)
    )
    assert [finding.label for finding in small.findings] == [
        finding.label for finding in large.findings
    ]
    for one, two in zip(small.findings, large.findings, strict=True):
        assert np.array(two.box) == pytest.approx(2 * np.array(one.box), abs=2.0)
    assert large.pixel_spacing_mm == pytest.approx(small.pixel_spacing_mm / 2)


def test_the_anatomy_does_not_depend_on_the_resolution() -> None:
    small, large = (
        grey_from(
            phantom_from_plan(healthy_plan(Region.LUMBAR, Projection.LATERAL, edge))
        )
        for edge in (300, 600)
    )
    rows, columns = small.shape
    halved = large[: 2 * rows, : 2 * columns].reshape(rows, 2, -1, 2).mean((1, 3))
    columns = min(halved.shape[1], columns)
    pairs = np.corrcoef(small[:, :columns].ravel(), halved[:, :columns].ravel())
    assert pairs[0, 1] > 0.97


@pytest.mark.parametrize("index", range(12))
def test_boxes_lie_in_the_image_and_hold_something(index: int) -> None:
    phantom = phantom_from_seed(11, index, abnormal=True, long_edge_px=320)
    rows, columns = phantom.pixels.shape
    assert phantom.findings
    for marked in (*phantom.findings, *phantom.vertebrae):
        xmin, ymin, xmax, ymax = marked.box
        assert 0 <= xmin < xmax <= columns
        assert 0 <= ymin < ymax <= rows
    assert {finding.label for finding in phantom.findings} <= set(LESIONS)


def test_a_normal_image_has_no_findings() -> None:
    for index in range(6):
        phantom = phantom_from_seed(12, index, abnormal=False, long_edge_px=200)
        assert phantom.findings == ()


@pytest.mark.parametrize(("region", "projection"), VIEWS)
def test_vertebrae_are_named_in_order_from_the_head_down(
    region: Region, projection: Projection
) -> None:
    phantom = phantom_from_plan(healthy_plan(region, projection))
    names = [level.name for level in LEVELS]
    places = [names.index(vertebra.level) for vertebra in phantom.vertebrae]
    assert len(places) >= 5
    assert places == list(range(places[0], places[-1] + 1))
    heights = [vertebra.box[1] for vertebra in phantom.vertebrae]
    assert heights == sorted(heights)


def test_a_patient_who_faces_right_is_the_mirror_image() -> None:
    plan = healthy_plan(Region.LUMBAR, Projection.LATERAL)
    plan = replace(plan, lesions=(lesion(Kind.SPURS, "L2", last="L3", severity=1),))
    left, right = (
        phantom_from_plan(
            replace(plan, patient=replace(plan.patient, faces_right=faces_right))
        )
        for faces_right in (False, True)
    )
    columns = left.pixels.shape[1]
    for one, two in zip(left.findings, right.findings, strict=True):
        assert one.box[0] + two.box[2] == pytest.approx(columns, abs=1.0)
        assert one.box[1] == two.box[1]
    mirrored = grey_from(right)[:, ::-1]
    assert np.corrcoef(grey_from(left).ravel(), mirrored.ravel())[0, 1] > 0.95
