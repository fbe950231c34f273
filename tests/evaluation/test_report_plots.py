"""Figures show what they are given, and the same figures make the same file."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from spinert.evaluation.froc import FrocCurve
from spinert.evaluation.report_figures import froc_points
from spinert.evaluation.report_plots import (
    Bars,
    Curve,
    HeatMap,
    bar_plot,
    curve_plot,
    froc_plot,
    heat_plot,
    reliability_plot,
)

CURVE = Curve(name="Ensemble 91.2", x=[0, 0.2, 1], y=[0, 0.9, 1], point=(0.2, 0.9))
HEAT = HeatMap(
    rows=[0.0, 0.5],
    columns=[0.0, 0.3],
    values=[[0.1234, None], [0.2, 0.5678]],
    row_label="cut-off",
    column_label="threshold",
    mark=(0.5, 0.28),
)
PLOTS = {
    "curve": lambda: curve_plot([CURVE], x="recall", y="precision"),
    "roc": lambda: curve_plot([CURVE, CURVE], x="a", y="b", diagonal=True),
    "froc": lambda: froc_plot([CURVE]),
    "bars": lambda: bar_plot(["Rib"], [Bars(name="one", values=[0.25])], x="AP"),
    "heat": lambda: heat_plot(HEAT),
    "reliability": lambda: reliability_plot([0.1, 0.9], [0.2, 0.8], [3, 9]),
}


def words(svg: bytes) -> set[str]:
    root = ElementTree.fromstring(svg)
    return {"".join(e.itertext()).strip() for e in root.iter() if e.tag[-4:] == "text"}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_the_same_file_every_time(name):
    assert PLOTS[name]() == PLOTS[name]()


def test_curves_are_named_where_there_are_several():
    assert {"a", "b", "Ensemble 91.2"} <= words(PLOTS["roc"]())
    assert "Ensemble 91.2" not in words(PLOTS["curve"]())


def test_a_class_without_truth_is_no_bar_of_zero():
    bars = [Bars(name="one", values=[None, 0.0])]
    told = words(bar_plot(["A", "B"], bars, x="AP"))
    assert {"A", "B", "no truth", "0.000"} <= told


def test_cells_are_told_in_percent_and_what_is_undefined_as_such():
    assert {"12.3", "20.0", "56.8", "-"} <= words(PLOTS["heat"]())


def test_the_setting_in_use_is_framed():
    plain = HeatMap(**{**vars(HEAT), "mark": None})
    assert len(PLOTS["heat"]()) > len(heat_plot(plain))


def froc_of_size(count: int) -> FrocCurve:
    alarms = np.arange(count) / 1000
    return FrocCurve(
        label=None,
        lesions=count,
        thresholds=-alarms,
        false_positives_per_image=alarms,
        sensitivity=np.arange(count) / count,
        at=(),
        mean_sensitivity=0.5,
    )


def test_a_long_froc_curve_is_thinned_evenly_on_its_axis():
    drawn = froc_points("all", froc_of_size(100_000))
    assert len(drawn.x) <= 500
    assert drawn.x[0] == 0
    assert 15 < drawn.x[-1] <= 16
    between = [sum(low <= x < 2 * low for x in drawn.x) for low in (0.125, 1, 4)]
    assert max(between) <= 1.5 * min(between)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_short_froc_curve_is_drawn_whole(count):
    assert len(froc_points("all", froc_of_size(count)).x) == count
