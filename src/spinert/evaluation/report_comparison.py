"""B against A: differences with their intervals, and every decision that flips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from spinert.evaluation.comparing import Versus
from spinert.evaluation.comparison import Difference
from spinert.evaluation.flips import Cause, FindingFlip, ImageFlip
from spinert.evaluation.paper_table import PaperRow, PaperTable, html_from_table
from spinert.evaluation.report_tables import estimate_text, percent
from spinert.evaluation.subject import Subject, precision_text
from spinert.runtime.report.html import Html, element, table, text

__all__ = ["comparison_paper_table", "comparison_section", "flips_text", "subject_text"]

_CAUSES: Final = {
    Cause.SCORE: "by a score at the cut-off",
    Cause.IMAGE: "with the decision of their image",
    Cause.ABSENT: "in one of the two only",
}


def comparison_paper_table(subject: Subject, versus: Versus) -> PaperTable:
    """Return the table of differences.

    Args:
        subject: A.
        versus: B, and how it differs.
    """
    comparison = versus.comparison
    figures = {
        "AUROC": comparison.auroc,
        "mAP@0.5, whole framework": comparison.map50,
        "mAP@0.5, detector only": comparison.detector_map50,
    }
    return PaperTable(
        label="comparison",
        title="B against A (percent).",
        context=f"On {versus.images} images.",
        header=("Figure", "A", "B", "B - A"),
        rows=tuple(
            PaperRow(cells=(name, *_cells(figure))) for name, figure in figures.items()
        ),
        notes=(
            f"A: {subject_text(subject)}. B: {subject_text(versus.subject)}.",
            "Intervals of B - A are of paired resamples of the images. Largest "
            "difference of a probability: "
            f"{comparison.max_probability_difference:.3g}.",
            flips_text(versus),
            *_left_out(versus),
        ),
    )


def comparison_section(subject: Subject, versus: Versus) -> Iterator[Html]:
    """Yield the differences and the flips."""
    yield element("h2", text("Comparison"))
    yield html_from_table(comparison_paper_table(subject, versus))
    images = versus.comparison.image_flips
    if images:
        rows = [("", _image_cells(flip)) for flip in images]
        yield element(
            "div",
            element("h3", text(f"Images that are decided otherwise: {len(images)}")),
            table(("Image", "truth", "A", "B"), rows),
            css="card",
        )
    findings = versus.comparison.finding_flips
    if findings:
        rows = [("", _finding_cells(flip)) for flip in findings]
        yield element(
            "div",
            element("h3", text(f"Findings that flip: {len(findings)}")),
            element(
                "details",
                element("summary", text(_causes(findings))),
                table(("Image", "class", "A", "B", "why"), rows),
            ),
            css="card",
        )


def _causes(flips: Sequence[FindingFlip]) -> str:
    counts = Counter(flip.cause for flip in flips)
    told = (f"{counts[cause]} {_CAUSES[cause]}" for cause in Cause if counts[cause])
    return ", ".join(told)


def subject_text(subject: Subject) -> str:
    """Return what was evaluated, in one line."""
    return (
        f"{subject.bundle_name} {subject.bundle_version} "
        f"({subject.bundle_sha256[:8]}), {subject.backend}, {precision_text(subject)}"
    )


def flips_text(versus: Versus) -> str:
    """Return how many decisions differ."""
    images = len(versus.comparison.image_flips)
    findings = len(versus.comparison.finding_flips)
    return (
        f"Decided otherwise: {images or 'no'} image{'' if images == 1 else 's'} of "
        f"{versus.images}, {findings or 'no'} finding{'' if findings == 1 else 's'}."
    )


def _cells(figure: Difference) -> tuple[str, str, str]:
    return (
        percent(figure.a),
        percent(figure.b),
        estimate_text(figure.difference, "+.3f"),
    )


def _left_out(versus: Versus) -> list[str]:
    if not versus.left_out:
        return []
    return [f"{versus.left_out} images that B has no answer for are left out."]


def _image_cells(flip: ImageFlip) -> list[Html]:
    def told(abnormal: bool, probability: float) -> str:
        return f"{'abnormal' if abnormal else 'normal'}, p {probability:.6f}"

    return [
        text(flip.image_id),
        text("abnormal" if flip.truth else "normal"),
        text(told(flip.abnormal_a, flip.probability_a)),
        text(told(flip.abnormal_b, flip.probability_b)),
    ]


def _finding_cells(flip: FindingFlip) -> list[Html]:
    def told(score: float | None, kept: bool) -> str:
        if score is None:
            return "absent"
        return f"{score:.6f}, {'kept' if kept else 'suppressed'}"

    return [
        text(flip.image_id),
        text(flip.label),
        text(told(flip.score_a, flip.kept_a)),
        text(told(flip.score_b, flip.kept_b)),
        text(flip.cause),
    ]
