"""Solids on a grid: amounts are right and do not depend on the pixel size."""

from __future__ import annotations

import numpy as np
import pytest

from spinert.phantom.raster import Grid, resized, smoothed, stamp
from spinert.phantom.shapes import Part, box_around, ellipse


def grid(step_mm: float) -> Grid:
    count = round(60 / step_mm)
    return Grid(
        rows=count, columns=count, step_mm=(step_mm, step_mm), origin_mm=(-30, -30)
    )


def amount(part: Part, step_mm: float) -> float:
    """Return attenuation times area."""
    layer = grid(step_mm).zeros()
    stamp(layer, grid(step_mm), [part])
    return float(layer.sum()) * step_mm**2


@pytest.mark.parametrize("step_mm", [0.2, 0.5, 1.0])
def test_a_flat_plate_attenuates_by_its_area(step_mm: float) -> None:
    part = Part(outline=ellipse((2.3, -1.1), (14.0, 9.0)), core=0.5)
    assert amount(part, step_mm) == pytest.approx(0.5 * np.pi * 14 * 9, rel=0.04)


@pytest.mark.parametrize("step_mm", [0.25, 0.6])
def test_a_rounded_solid_is_thinner_at_its_edge(step_mm: float) -> None:
    outline = ellipse((0, 0), (15, 15))
    layer = grid(step_mm).zeros()
    stamp(layer, grid(step_mm), [Part(outline=outline, core=1.0, round_mm=6.0)])
    line = layer[layer.shape[0] // 2]
    at = [round((30 + x) / step_mm) for x in (0, 11, 14)]
    assert line[at[0]] == pytest.approx(1.0, abs=0.02)
    assert 0.7 < line[at[1]] < 0.95
    assert 0.2 < line[at[2]] < 0.6


def test_a_shell_is_brightest_at_its_edge() -> None:
    part = Part(outline=ellipse((0, 0), (15, 15)), core=0.2, rim=0.6, rim_mm=2.0)
    layer = grid(0.25).zeros()
    stamp(layer, grid(0.25), [part])
    line = layer[120]
    edge = np.argmax(line[:120]) * 0.25 - 30
    assert edge == pytest.approx(-15, abs=0.6)
    assert line[120] == pytest.approx(0.2, abs=0.01)


def test_a_part_outside_the_field_changes_nothing() -> None:
    layer = grid(0.5).zeros()
    stamp(layer, grid(0.5), [Part(outline=ellipse((80, 0), (9, 9)), core=1.0)])
    assert not layer.any()


def test_a_part_across_the_edge_of_the_field_is_cut() -> None:
    layer = grid(0.5).zeros()
    stamp(layer, grid(0.5), [Part(outline=ellipse((30, 0), (10, 10)), core=1.0)])
    assert float(layer.sum()) * 0.25 == pytest.approx(np.pi * 100 / 2, rel=0.05)


def test_smoothing_and_enlarging_keep_a_constant() -> None:
    flat = np.full((20, 30), 3.25, np.float32)
    assert np.allclose(smoothed(flat, 4.0), 3.25)
    assert np.allclose(resized(flat, grid(0.5)), 3.25)


def test_smoothing_keeps_the_sum_of_a_spot() -> None:
    spot = np.zeros((41, 41), np.float32)
    spot[20, 20] = 1.0
    soft = smoothed(spot, 3.0)
    assert soft.sum() == pytest.approx(1.0, rel=1e-5)
    assert np.unravel_index(soft.argmax(), soft.shape) == (20, 20)


def test_the_box_around_outlines_is_the_smallest() -> None:
    box = box_around([ellipse((0, 0), (4, 2)), ellipse((10, 1), (1, 1))])
    assert box == pytest.approx((-4, -2, 11, 2), abs=0.1)
