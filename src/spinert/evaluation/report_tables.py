"""Tables 3, 4 and 5 of the paper, for the bundle at hand.

VinDr-SpineXR (Nguyen et al., MICCAI 2021, arXiv 2106.12930): classification, detection
by class, and the detector alone against the whole framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from spinert.evaluation.bootstrap import Estimate
from spinert.evaluation.classification import ClassificationRow
from spinert.evaluation.deciding import ChosenBy
from spinert.evaluation.detection import ClassAp, DetectionTable
from spinert.evaluation.evaluating import Evaluation, detection_bootstrap
from spinert.evaluation.labels import FINDINGS
from spinert.evaluation.paper_table import PaperRow, PaperTable
from spinert.evaluation.subject import precision_text

__all__ = [
    "classification_paper_table",
    "detector_paper_table",
    "estimate_text",
    "framework_paper_table",
    "paper_tables",
    "percent",
    "short_names",
]

_UNDEFINED: Final = "n/a"


def paper_tables(found: Evaluation) -> tuple[PaperTable, ...]:
    """Return Tables 3, 4 and 5."""
    return (
        classification_paper_table(found),
        detector_paper_table(found),
        framework_paper_table(found),
    )


def classification_paper_table(found: Evaluation) -> PaperTable:
    """Return Table 3: each member and the ensemble."""
    rows = [
        PaperRow(
            cells=_classifier_cells(row), is_strong=row is found.classification[-1]
        )
        for row in found.classification
    ]
    level = f"{found.bootstrap.confidence:.0%}"
    notes = [
        f"{level} intervals of {found.bootstrap.resamples} bootstraps of the images. "
        f"The ensemble decides at {found.operating.threshold:.4g}, from "
        f"{found.operating.by}."
    ]
    if len(found.classification) > 1:
        notes.append("Each member decides at its own Youden threshold on these images.")
    if found.operating.by is ChosenBy.YOUDEN:
        notes.append("A threshold chosen on the images it is measured on flatters.")
    notes += _reasons(
        [
            estimate
            for row in found.classification
            for estimate in (row.auroc, row.f1, row.sensitivity, row.specificity)
        ]
    )
    return PaperTable(
        label="classification",
        title="Table 3. Classification (percent).",
        context=_on(found),
        header=("Classifier", "AUROC", "F1", "Sensitivity", "Specificity"),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def detector_paper_table(found: Evaluation) -> PaperTable:
    """Return Table 4: AP of each class as the mean over IoU 0.2 to 0.5."""
    names = short_names([entry.label for entry in found.detector.classes])
    order = _paper_order(found.detector.classes)
    detector = found.detector
    architecture = dict(found.subject.architectures).get("detector", "detector")
    cells = (
        architecture,
        estimate_text(detector.map50),
        percent(detector.map20_50),
        *(percent(entry.ap20_50) for entry in order),
    )
    return PaperTable(
        label="detection",
        title="Table 4. Detection by class (percent).",
        context=_on(found),
        header=(
            "Detector",
            "mAP@0.5",
            "mAP@[.2:.5]",
            *(names[entry.label] for entry in order),
        ),
        rows=(PaperRow(cells=cells, is_strong=True),),
        notes=(
            "Classes: AP, mean over IoU 0.2, 0.25 ... 0.5. 101 recalls, at most 100 "
            f"findings. The interval is of {_resamples(found)} bootstraps.",
            *_legend(names),
            *_reasons([detector.map50]),
        ),
    )


def framework_paper_table(found: Evaluation) -> PaperTable:
    """Return Table 5: AP of each class at IoU 0.5, without and with fusion."""
    names = short_names([entry.label for entry in found.framework.classes])
    order = [entry.label for entry in _paper_order(found.framework.classes)]
    return PaperTable(
        label="framework",
        title="Table 5. Detector only and whole framework (percent).",
        context=_on(found),
        header=("Method", *(names[label] for label in order), "mAP@0.5"),
        rows=(
            PaperRow(cells=_framework_cells(found.detector, order)),
            PaperRow(cells=_framework_cells(found.framework, order), is_strong=True),
        ),
        notes=(
            f"Classes: AP at IoU 0.5. {found.framework.findings} of "
            f"{found.detector.findings} findings are kept by the fusion rule.",
            *_legend(names),
        ),
    )


def estimate_text(estimate: Estimate, form: str = ".2f") -> str:
    """Return a figure in percent with its interval; differences have a sign."""
    if estimate.value is None:
        return _UNDEFINED
    told = f"{100 * estimate.value:{form}}"
    if estimate.low is None or estimate.high is None:
        return told
    return f"{told} ({100 * estimate.low:{form}}, {100 * estimate.high:{form}})"


def percent(value: float | None) -> str:
    """Return a figure in percent."""
    return _UNDEFINED if value is None else f"{100 * value:.2f}"


def short_names(labels: Sequence[str]) -> dict[str, str]:
    """Return the paper's LT numbers, or the labels where one has none."""
    known = {name: f"LT{number}" for number, name in enumerate(FINDINGS, start=1)}
    if not all(label in known for label in labels):
        return {label: label for label in labels}
    return {label: known[label] for label in labels}


def _paper_order(classes: Iterable[ClassAp]) -> list[ClassAp]:
    order = {name: number for number, name in enumerate(FINDINGS)}
    return sorted(classes, key=lambda entry: order.get(entry.label, len(order)))


def _legend(names: dict[str, str]) -> list[str]:
    shortened = [(s, label) for label, s in names.items() if s != label]
    shortened.sort(key=lambda pair: int(pair[0].removeprefix("LT")))
    told = ", ".join(f"{short} {label}" for short, label in shortened)
    return [f"{told}."] if told else []


def _classifier_cells(row: ClassificationRow) -> tuple[str, ...]:
    figures = (row.auroc, row.f1, row.sensitivity, row.specificity)
    return (row.name, *map(estimate_text, figures))


def _framework_cells(table: DetectionTable, order: Sequence[str]) -> tuple[str, ...]:
    by_label = {entry.label: entry.ap50 for entry in table.classes}
    classes = (percent(by_label[label]) for label in order)
    return (table.name, *classes, estimate_text(table.map50))


def _reasons(estimates: Iterable[Estimate]) -> list[str]:
    reasons = dict.fromkeys(e.reason for e in estimates if e.reason)
    return [f"{_UNDEFINED}: {reason}." for reason in reasons]


def _on(found: Evaluation) -> str:
    subject = found.subject
    return (
        f"{subject.bundle_name} {subject.bundle_version} on {len(found.pairs)} images "
        f"of split {found.split}, {subject.backend}, {precision_text(subject)}."
    )


def _resamples(found: Evaluation) -> int:
    return detection_bootstrap(found.bootstrap).resamples
