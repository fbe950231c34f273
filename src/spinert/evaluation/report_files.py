"""Write a report: page, figures for programs, tables for a manuscript."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from spinert.evaluation.errors import ReportError
from spinert.evaluation.paper_table import (
    PaperTable,
    latex_from_table,
    markdown_from_table,
)
from spinert.evaluation.report_comparison import comparison_paper_table
from spinert.evaluation.report_json import json_from_report
from spinert.evaluation.report_page import Report, page_from_report
from spinert.evaluation.report_tables import paper_tables
from spinert.runtime.replies import DISCLAIMER

__all__ = ["REPORT_FILES", "require_folder", "tables_of", "write_report"]

REPORT_FILES: Final = ("report.html", "report.json", "tables.md", "tables.tex")


def require_folder(directory: Path) -> None:
    """Make the folder of a report, before anything is measured.

    Raises:
        ReportError: It cannot be made, or a file is in its place.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"cannot write {directory}: {error.strerror}") from error


def tables_of(report: Report) -> tuple[PaperTable, ...]:
    """Return the tables of the paper, and the comparison if there is one."""
    tables = paper_tables(report.found)
    if report.versus is None:
        return tables
    return (*tables, comparison_paper_table(report.found.subject, report.versus))


def write_report(directory: Path, report: Report) -> None:
    """Write REPORT_FILES, replacing those of an earlier run.

    Raises:
        ReportError: One cannot be written.
    """
    contents = (
        str(page_from_report(report)),
        json_from_report(report),
        _joined(report, markdown_from_table, "<!-- {} -->"),
        _joined(report, latex_from_table, "% {}"),
    )
    for name, content in zip(REPORT_FILES, contents, strict=True):
        path = directory / name
        try:
            path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise ReportError(f"cannot write {path}: {error.strerror}") from error


def _joined(report: Report, written: Callable[[PaperTable], str], comment: str) -> str:
    subject = report.found.subject
    opening = [DISCLAIMER, f"bundle SHA-256 {subject.bundle_sha256}"]
    if subject.notice:
        opening.insert(1, subject.notice)
    lines = [comment.format(" ".join(line.split())) for line in opening]
    return "\n".join([*lines, "", *map(written, tables_of(report))])
