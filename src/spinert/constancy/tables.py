"""A constancy test on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from spinert.constancy.asking import NoAnswer
from spinert.constancy.judging import CaseReport, RunReport
from spinert.constancy.records import Run
from spinert.runtime.backends.precision import precision_text

__all__ = ["run_view"]


def run_view(run: Run) -> Group:
    """Return a row for each phantom, what lies outside the limits, and the verdict."""
    report = run.report
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("phantom", no_wrap=True)
    for heading in ("p now", "p then", "largest dev.", "findings", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for case in report.cases:
        table.add_row(*_cells(case))
    return Group(table, *_outside(report), _summary(run))


def _cells(case: CaseReport) -> Iterator[Text]:
    phantom, answer = case.asked.phantom, case.asked.outcome
    view = f"{phantom.region.value} {phantom.projection.value}".lower()
    yield Text(f"{case.expected.index} {view}")
    if isinstance(answer, NoAnswer):
        yield Text("-")
    else:
        yield Text(f"{answer.verdict.abnormal_probability:.3f}")
    yield Text(f"{case.expected.abnormal_probability:.3f}")
    yield Text(_figure(case.score_deviation))
    yield Text(f"{len(case.found_again)} of {len(case.expected.findings)}")
    yield Text(f"{1000 * case.asked.latency_s:.0f}")
    yield Text("passed", "green") if case.has_passed else Text("FAILED", "red")


def _outside(report: RunReport) -> Iterator[Text]:
    for entry in report.deviations:
        yield Text(f"{entry.text}", "red")
    for case in report.cases:
        for entry in case.deviations:
            yield Text(f"phantom {case.expected.index}: {entry.text}", "red")
    drawn = [case.expected.index for case in report.cases if not case.has_same_pixels]
    if drawn:
        told = ", ".join(map(str, drawn))
        yield Text(
            f"drawn here with other pixels than the limits were measured with: {told}",
            "yellow",
        )


def _summary(run: Run) -> Text:
    report, info, limits = run.report, run.info, run.report.limits
    word = ("PASSED", "bold green") if report.has_passed else ("FAILED", "bold red")
    degraded = f"\nthe fallback serves: {info.degraded_reason}" if info.degraded else ""
    return Text.assemble(
        word,
        f"  {info.bundle_name} {info.bundle_version} on {info.backend}, "
        f"{precision_text(info.backend, info.precision)}; largest score deviation "
        f"{_figure(report.score_deviation)} ({limits.score_tolerance:g} allowed), "
        f"median latency {_figure(report.latency_median_s)} s "
        f"({limits.latency_limit_s:g} s allowed)",
        (degraded, "yellow"),
        (f"\n{info.disclaimer} {info.notice}".rstrip(), "yellow"),
    )


def _figure(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"
