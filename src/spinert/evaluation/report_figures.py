"""The figures of the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinert.evaluation.evaluating import Evaluation
from spinert.evaluation.froc import OPERATING_POINTS, FrocCurve
from spinert.evaluation.fusion_sweep import FusionSweep
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
from spinert.evaluation.report_tables import estimate_text, percent
from spinert.runtime.report.html import Html, element, table, text
from spinert.runtime.report.plotting import plot_figure

__all__ = ["figure_section", "froc_points"]

_MOST_POINTS: Final = 500
"""Of a curve: more cannot be told apart."""


def figure_section(found: Evaluation) -> Iterator[Html]:
    """Yield the curves, the classes and the fusion sweep."""
    yield element("h2", text("Normal or abnormal"))
    yield element("div", *_classification(found), css="plots")
    yield element("p", text(_reverse(found)))
    yield element("h2", text("Findings"))
    yield element("div", *_detection(found), css="plots")
    yield element("div", _class_table(found), css="card")
    yield element("h2", text("Fusion"))
    yield from _sweep(found)


def _classification(found: Evaluation) -> Iterator[Html]:
    if any(roc is not None for roc in found.rocs):
        yield plot_figure(_roc(found), "Receiver operating characteristic")
    curve = found.precision_recall
    if curve is not None:
        drawn = _curve("Ensemble", curve.recall, curve.precision)
        area = percent(curve.average_precision)
        told = f"Precision and recall, average precision {area}"
        yield plot_figure(curve_plot([drawn], x="recall", y="precision"), told)
    if curve is None:
        told = "No curves: all images are normal, or all are abnormal."
        yield element("p", text(told), css="notice")
    calibration = found.calibration
    plot = reliability_plot(
        [b.mean_probability for b in calibration.bins],
        [b.abnormal_share for b in calibration.bins],
        [b.count for b in calibration.bins],
    )
    told = (
        f"Calibration: Brier score {calibration.brier:.4f}, expected calibration error "
        f"{calibration.ece:.4f}; the area of a dot is the number of images"
    )
    yield plot_figure(plot, told)


def _roc(found: Evaluation) -> bytes:
    rows = list(zip(found.classification, found.rocs, strict=True))
    curves = []
    for row, roc in reversed(rows):
        if roc is None:
            continue
        point = None
        sensitivity, specificity = row.sensitivity.value, row.specificity.value
        if sensitivity is not None and specificity is not None:
            point = 1 - specificity, sensitivity
        name = f"{row.name} {percent(row.auroc.value)}"
        curves.append(
            _curve(name, roc.false_positive_rate, roc.true_positive_rate, point)
        )
    return curve_plot(curves, x="1 - specificity", y="sensitivity", diagonal=True)


def _reverse(found: Evaluation) -> str:
    reverse = found.reverse
    auroc_gain = estimate_text(reverse.auroc_gain, "+.2f")
    f1_gain = estimate_text(reverse.f1_gain, "+.2f")
    return (
        "Reverse fusion, images scored by (p + best finding) / 2: AUROC "
        f"{estimate_text(reverse.auroc)}, a gain of {auroc_gain}; F1 "
        f"{estimate_text(reverse.f1)}, a gain of {f1_gain}, each at its own Youden "
        "threshold."
    )


def _detection(found: Evaluation) -> Iterator[Html]:
    *_, pooled = found.frocs
    if pooled.mean_sensitivity is None:
        told = "No lesion of any class is annotated: there is nothing to find."
        yield element("p", text(told), css="notice")
        return
    curves = [froc_points("All classes", pooled)]
    curves += [
        froc_points(curve.label, curve)
        for curve in found.frocs[:-1]
        if curve.label is not None and curve.lesions
    ]
    yield plot_figure(
        froc_plot(curves),
        "FROC of the detector; mean sensitivity at 1/8 to 8 false positives per image "
        f"{percent(pooled.mean_sensitivity)}",
    )
    groups = [entry.label for entry in found.detector.classes]
    bars = [
        Bars(name=made.name, values=[entry.ap50 for entry in made.classes])
        for made in (found.detector, found.framework)
    ]
    yield plot_figure(
        bar_plot(groups, bars, x="AP at IoU 0.5"), "Average precision by class"
    )


def _class_table(found: Evaluation) -> Html:
    rows = []
    classes = zip(
        found.detector.classes,
        found.framework.classes,
        found.frocs[:-1],
        strict=True,
    )
    for detector, framework, froc in classes:
        figures = (
            detector.ap50,
            framework.ap50,
            detector.ap20_50,
            froc.mean_sensitivity,
        )
        cells = [text(detector.label), text(detector.lesions)]
        rows.append(("", cells + [text(percent(value)) for value in figures]))
    header = (
        "Class",
        "lesions",
        "AP50, detector",
        "AP50, framework",
        "AP@[.2:.5], detector",
        "FROC, mean sensitivity",
    )
    return table(header, rows, numbers=range(1, len(header)))


def _sweep(found: Evaluation) -> Iterator[Html]:
    sweep = found.sweep
    if sweep is None:
        told = "No lesion of any class is annotated: fusion cannot be rated."
        yield element("p", text(told), css="notice")
        return
    best = sweep.best
    told = (
        "mAP@0.5 of the whole framework (percent) for each threshold c* and cut-off. "
        f"Best on these images: {percent(best.map50)} at threshold {best.threshold:g}, "
        f"cut-off {best.cutoff:g}; without fusion {percent(sweep.detector_only)}."
    )
    cutoff = found.operating.cutoff
    if cutoff is not None:
        told += (
            f" In use: threshold {found.operating.threshold:.4g}, cut-off "
            f"{cutoff:.4g}; the frame is the nearest of the grid."
        )
    yield element("div", plot_figure(heat_plot(_heat(found, sweep)), told), css="card")


def _heat(found: Evaluation, sweep: FusionSweep) -> HeatMap:
    cutoff = found.operating.cutoff
    rows, columns = slice(None, None, 2), slice(None, None, 2)
    return HeatMap(
        rows=sweep.cutoffs[rows],
        columns=sweep.thresholds[columns],
        values=[line[columns] for line in sweep.map50[rows]],
        row_label="low-confidence cut-off",
        column_label="threshold c*",
        mark=None if cutoff is None else (cutoff, found.operating.threshold),
    )


def froc_points(name: str, curve: FrocCurve) -> Curve:
    """Return what is drawn of a FROC curve: as much as its logarithmic axis shows."""
    shown = curve.false_positives_per_image <= 2 * OPERATING_POINTS[-1]
    x, y = curve.false_positives_per_image[shown], curve.sensitivity[shown]
    if len(x):
        steps = np.geomspace(1, len(x), _MOST_POINTS).round().astype(int)
        chosen = np.unique(steps) - 1
        x, y = x[chosen], y[chosen]
    return _curve(name, x, y)


def _curve(
    name: str,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    point: tuple[float, float] | None = None,
) -> Curve:
    count = len(x)
    chosen = np.arange(count)
    if count > _MOST_POINTS:
        chosen = np.unique(np.linspace(0, count - 1, _MOST_POINTS).round().astype(int))
    return Curve(name=name, x=x[chosen].tolist(), y=y[chosen].tolist(), point=point)
