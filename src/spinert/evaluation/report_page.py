"""The report as one page that needs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from spinert import __version__
from spinert.evaluation.bootstrap import Estimate
from spinert.evaluation.comparing import Versus
from spinert.evaluation.evaluating import Evaluation
from spinert.evaluation.labels import Merge
from spinert.evaluation.miss_pictures import MissPicture
from spinert.evaluation.paper_table import html_from_table
from spinert.evaluation.report_comparison import comparison_section
from spinert.evaluation.report_figures import figure_section
from spinert.evaluation.report_problems import problem_section
from spinert.evaluation.report_tables import paper_tables, percent
from spinert.evaluation.subject import precision_text
from spinert.runtime.replies import DISCLAIMER
from spinert.runtime.report.html import Html, document, element, joined, text

__all__ = ["Report", "page_from_report"]

_MERGED: Final = {Merge.PAPER: "paper", Merge.OFFICIAL: "official code"}
_STYLE: Final = """
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr));
  gap: 12px; margin: 16px 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 16px; }
.tile b { display: block; font-size: 25px; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(290px, 1fr));
  gap: 12px; align-items: start; }
.plots figure { background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: 12px 14px; }
.paper td:first-child { white-space: nowrap; }
td, figcaption { overflow-wrap: anywhere; }
.card figure { max-width: 780px; }
figure { margin: 0; } figure img { display: block; width: 100%; height: auto; }
figcaption { font-size: 13px; color: var(--soft); margin-top: 4px; }
.misses { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr));
  gap: 16px; }
.misses img { height: 540px; object-fit: contain; background: #000;
  border-radius: 6px; }
summary { font-weight: 600; }
"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a report is written from."""

    found: Evaluation
    versus: Versus | None
    pictures: Sequence[MissPicture]
    made_at: datetime


def page_from_report(report: Report) -> Html:
    """Return the page."""
    found = report.found
    subject = found.subject
    return document(
        f"{subject.bundle_name} {subject.bundle_version}: evaluation",
        *_opening(report),
        element("h2", text("Tables")),
        *(html_from_table(made) for made in paper_tables(found)),
        *(comparison_section(subject, report.versus) if report.versus else ()),
        *figure_section(found),
        *_misses(report.pictures),
        *problem_section(found),
        style=_STYLE,
    )


def _opening(report: Report) -> Iterator[Html]:
    found = report.found
    subject = found.subject
    yield element("h1", text(f"{subject.bundle_name} {subject.bundle_version}"))
    yield element("p", text(f"Evaluation on split {found.split}"), css="soft")
    yield element("p", text(DISCLAIMER), css="soft")
    if subject.notice:
        yield element("p", text(subject.notice), css="notice")
    if found.unanswered:
        count, total = len(found.unanswered), len(found.annotations.cases)
        told = (
            f"{count} of {total} images without an answer: in no figure, listed at the "
            "end."
        )
        yield element("p", text(told), css="failure")
    yield element("div", *_tiles(found), css="tiles")
    yield element("div", _facts(report), css="card")


def _tiles(found: Evaluation) -> Iterator[Html]:
    ensemble = found.classification[-1]
    yield _tile("AUROC", ensemble.auroc)
    yield _tile("F1", ensemble.f1)
    yield _tile("Sensitivity", ensemble.sensitivity)
    yield _tile("Specificity", ensemble.specificity)
    yield _tile("mAP@0.5, framework", found.framework.map50)
    yield _tile("mAP@0.5, detector", found.detector.map50)


def _tile(name: str, estimate: Estimate) -> Html:
    about = "no interval"
    if estimate.low is not None and estimate.high is not None:
        about = f"{100 * estimate.low:.2f} to {100 * estimate.high:.2f}"
    if estimate.value is None:
        about = estimate.reason
    return element(
        "div",
        element("span", text(name), css="soft"),
        element("b", text(percent(estimate.value))),
        element("span", text(about), css="soft"),
        css="tile",
    )


def _facts(report: Report) -> Html:
    found = report.found
    subject = found.subject
    abnormal = int(found.pairs.truth.sum())
    boxes = sum(len(case.boxes) for case in found.pairs.cases)
    device = f" on {subject.device}" if subject.device else ""
    facts = {
        "bundle": f"{subject.bundle_name} {subject.bundle_version}",
        "bundle SHA-256": subject.bundle_sha256,
        "networks": ", ".join(
            f"{role} {architecture}" for role, architecture in subject.architectures
        ),
        "backend": f"{subject.backend}{device}",
        "precision": precision_text(subject),
        "images": f"{len(found.pairs)} of {len(found.annotations.cases)}, {abnormal} "
        f"abnormal, {boxes} lesions of {len(subject.classes)} classes",
        "annotations": f"{found.table}, {found.annotations.rows} rows, labels merged "
        f"as in the {_MERGED[found.annotations.merge]}",
        "decision": f"threshold {found.operating.threshold:.6g}, from "
        f"{found.operating.by}",
        "intervals": f"{found.bootstrap.confidence:.0%}, {found.bootstrap.resamples} "
        f"bootstraps, seed {found.bootstrap.seed}",
        "runtime": f"spinert {subject.runtime_version}",
        "reported": f"{report.made_at.isoformat(timespec='seconds')} by spinert "
        f"{__version__}",
    }
    parts = (
        joined((element("dt", text(name)), element("dd", text(value))))
        for name, value in facts.items()
    )
    return element("dl", *parts)


def _misses(pictures: Sequence[MissPicture]) -> Iterator[Html]:
    if not pictures:
        return
    yield element("h2", text("Worst misses"))
    about = (
        "White brackets are the annotated lesions; coloured boxes are the findings, "
        "dashed where fusion suppressed them. These pictures are of the evaluated "
        "images: share this page as you may share them."
    )
    yield element("p", text(about), css="soft")
    yield element("div", *map(_miss, pictures), css="misses")


def _miss(picture: MissPicture) -> Html:
    miss = picture.miss
    about = f"{miss.case.image_id}, p {miss.prediction.probability:.3f}"
    if picture.hidden:
        about += f"; {picture.hidden} lower findings are not drawn"
    caption = element(
        "figcaption", element("strong", text(miss.what)), element("div", text(about))
    )
    if picture.jpeg is None:
        told = f"cannot be drawn: {picture.problem}"
        return element("figure", element("p", text(told), css="failure"), caption)
    source = base64.b64encode(picture.jpeg).decode()
    image = element(
        "img", src=f"data:image/jpeg;base64,{source}", alt=miss.what, loading="lazy"
    )
    return element("figure", image, caption)
