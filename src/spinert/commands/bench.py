"""`spinert bench`: where the time goes, measured, reported and compared."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spinert.commands.common import OUTPUT_FILE, PATH, settings_from_option

if TYPE_CHECKING:
    from spinert.bench.order import BenchOrder

__all__ = ["bench"]

_PARTS = (
    "levels",
    "open-loop",
    "single-stream",
    "multi-stream",
    "server",
    "offline",
    "accuracy",
    "layers",
    "scaling",
    "cold-start",
)
_SYNTAXES = ("raw", "uncompressed", "jpeg-lossless", "jpeg-ls", "j2k", "rle")
_MOST_DEVICES = 256
_MOST_SECONDS = 3600.0
"""Arrivals of an open loop are all decided, and held, before the first is sent."""


class _FiniteRange(click.FloatRange):
    """A range that "nan", which compares with nothing, is out of; so is "inf"."""

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


@click.group()
def bench() -> None:
    """Measure a server and what it is made of; compare two reports."""


def _numbers(low: int, high: int) -> Callable[..., tuple[int, ...]]:
    """Return what reads whole numbers, separated by commas."""

    def read(
        _context: click.Context, _parameter: click.Parameter, value: str
    ) -> tuple[int, ...]:
        try:
            numbers = tuple(int(word) for word in value.split(","))
        except ValueError:
            numbers = ()
        if not numbers or not all(low <= number <= high for number in numbers):
            raise click.BadParameter(
                f"give numbers from {low} to {high}, separated by commas"
            )
        return numbers

    return read


@bench.command()
@click.option("--bundle", type=PATH, help="Serve this bundle, and measure its parts.")
@click.option("--server", help="HOST:PORT of a running server to measure instead.")
@click.option("--config", type=PATH, help="Settings (TOML) to serve the bundle with.")
@click.option(
    "--scenario",
    "parts",
    type=click.Choice(_PARTS),
    multiple=True,
    help="What to measure; may be given again. [default: all that can be]",
)
@click.option(
    "--seconds",
    type=_FiniteRange(0.1, _MOST_SECONDS),
    default=5.0,
    show_default=True,
    help="Of each scenario, and of each level in each round.",
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--devices",
    callback=_numbers(1, _MOST_DEVICES),
    default="1,16,64,256",
    show_default=True,
    help="Simulated in the open loop.",
)
@click.option(
    "--pattern",
    type=click.Choice(["poisson", "periodic"]),
    default="poisson",
    show_default=True,
    help="Of arrivals in the open loop.",
)
@click.option(
    "--long-edges",
    "long_edges_px",
    callback=_numbers(256, 4096),
    default="1000,2000",
    show_default=True,
    help="Sizes of the phantoms, in pixels.",
)
@click.option(
    "--syntax",
    "syntaxes",
    type=click.Choice(_SYNTAXES),
    multiple=True,
    help="How they are sent; may be given again. [default: in all ways]",
)
@click.option("--p99-ms", type=_FiniteRange(0, min_open=True), help="Server bound.")
@click.option("--rules", "is_by_rules", is_flag=True, help="MLPerf's 600 s and more.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, help="JSON report.")
@click.option("--html", type=OUTPUT_FILE, help="Write it as a page, too.")
def run(output: Path, html: Path | None, **given: Any) -> None:
    """Measure a bundle, or a running server.

    With --bundle, the networks alone, the pipeline in one process and a server over
    loopback are measured in turn. The exit code is 1 where a frame got no answer, or
    another one than in the pipeline.
    """
    if (given["server"] is None) == (given["bundle"] is None):
        raise click.UsageError("give either --server or --bundle")
    if given["config"] is not None and given["bundle"] is None:
        raise click.UsageError("--config is for --bundle")
    order = _order(given)
    from spinert.bench.report import write_report
    from spinert.bench.running import run_bench
    from spinert.bench.tables import report_view
    from spinert.runtime.report.progress import console

    report = run_bench(order, console(stderr=True))
    write_report(output, report)
    console().print(report_view(report))
    click.echo(f"report written to {output}")
    if html is not None:
        _write_page(report, html)
    accuracy = report.get("accuracy")
    if report["failures"]["frames"] or (accuracy and not accuracy["passed"]):
        sys.exit(1)


@bench.command()
@click.argument("path", type=PATH)
@click.option("--html", type=OUTPUT_FILE, help="Write it as a page.")
def report(path: Path, html: Path | None) -> None:
    """Show a report that was written before."""
    from spinert.bench.report import read_report
    from spinert.bench.tables import report_view
    from spinert.runtime.report.progress import console

    found = read_report(path)
    console().print(report_view(found))
    if html is not None:
        _write_page(found, html)


@bench.command()
@click.argument("before", type=PATH)
@click.argument("after", type=PATH)
@click.option(
    "--tolerance",
    type=_FiniteRange(0, 10),
    default=0.05,
    show_default=True,
    help="Least change that matters.",
)
def compare(before: Path, after: Path, tolerance: float) -> None:
    """Tell what is worse in AFTER than in BEFORE, beyond noise.

    The exit code is 1 where anything is, or where AFTER has frames without an answer
    or wrong ones; it is 2 where nothing can be compared.
    """
    from spinert.bench.comparing import compared
    from spinert.bench.errors import ReportInvalid
    from spinert.bench.report import read_report
    from spinert.bench.tables import comparison_view
    from spinert.runtime.report.progress import console

    found = compared(read_report(before), read_report(after), tolerance=tolerance)
    if not found.changes:
        raise ReportInvalid(
            "the two reports have no figure in common; measure the same --scenario"
        )
    console().print(comparison_view(found))
    if found.has_regressed:
        sys.exit(1)


def _order(given: dict[str, Any]) -> BenchOrder:
    from spinert.bench.arrivals import Pattern
    from spinert.bench.order import LOCAL_ONLY, BenchOrder, Part

    asked = frozenset(Part(name) for name in given.pop("parts"))
    is_remote = given["server"] is not None
    if is_remote and asked & LOCAL_ONLY:
        names = ", ".join(sorted(asked & LOCAL_ONLY))
        raise click.UsageError(f"--scenario {names}: needs --bundle")
    possible = frozenset(Part) - (LOCAL_ONLY if is_remote else frozenset())
    return BenchOrder(
        settings=settings_from_option(given["config"]),
        parts=asked or possible,
        pattern=Pattern(given.pop("pattern")),
        syntaxes=given.pop("syntaxes") or _SYNTAXES,
        **given,
    )


def _write_page(report: dict[str, Any], path: Path) -> None:
    from spinert.bench.page import page_from_report
    from spinert.bench.report import write_file

    write_file(path, page_from_report(report))
    click.echo(f"page written to {path}")
