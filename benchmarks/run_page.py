"""The page of `make bench`: the report of a bundle, and above it the comparisons."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from run_rows import rows_from_results, verdict
from run_stamps import runs_text

from spinert.bench.page import page_from_report
from spinert.bench.plots import Bar, bar_plot
from spinert.runtime.report.html import Html, document, element, table, text
from spinert.runtime.report.plotting import plot_figure

_CSS = {"met": "badge good", "missed": "badge bad"}
_FIGURES = {
    "per_s": "Requests per second, median of the rounds",
    "cpu_ms_per_request": "Processor time of the server for each request, median",
}
_AXES = {"per_s": "requests per second", "cpu_ms_per_request": "ms"}


def page_from_results(results: Mapping[str, Any]) -> Html:
    """Return the page of everything that `run.py` measured."""
    runs = runs_text(results)
    sections = [
        element("h2", text("Measured and wanted")),
        *([element("p", text(runs), css="soft")] if runs else []),
        element("div", _table(results), css="card"),
        *_peers(results.get("peers")),
        *_peers_network(results.get("peers_network")),
    ]
    if report := results.get("report"):
        return page_from_report(report, *sections)
    return document("SpineRT, measured", *sections)


def _table(results: Mapping[str, Any]) -> Html:
    rows = []
    for row in rows_from_results(results):
        told = verdict(row)
        badge = element("span", text(told), css=_CSS[told]) if told else text("")
        rows.append(("", [*(text(cell) for cell in row), badge]))
    return table(("what", "median (smallest-largest)", "target", ""), rows)


def _peers(part: Mapping[str, Any] | None) -> Iterator[Html]:
    if part is None:
        return
    yield element("h2", text("Beside its peers"))
    yield _about(
        part,
        "spinert-front answers without a network; spinert-kserve and all peers run the "
        "same one, which costs next to nothing.",
    )
    yield _plots(part)


def _peers_network(part: Mapping[str, Any] | None) -> Iterator[Html]:
    if part is None:
        return
    yield element("h2", text(f"Beside its peers, with {part['network']}"))
    yield _about(
        part,
        "All run the same ONNX file. It takes nearly all of the time: what a server "
        "adds, or loses by how it forms batches, is the difference.",
    )
    yield _plots(part)


def _about(part: Mapping[str, Any], more: str) -> Html:
    about = (
        f"{part['what']}; all in one run, taking turns. The load generator runs on the "
        f"same cores, and is as lean as each protocol allows. {more}"
    )
    return element("p", text(about), css="soft")


def _plots(part: Mapping[str, Any]) -> Html:
    plots = []
    for key, caption in _FIGURES.items():
        medians = {n: statistics.median(s[key]) for n, s in part["series"].items()}
        bars = [
            Bar(
                name=_named(name),
                value=value,
                told=f"{value:.0f}" if value >= 100 else f"{value:.3g}",
                is_other=not name.startswith("spinert"),
            )
            for name, value in medians.items()
        ]
        plots.append(plot_figure(bar_plot(bars, x=_AXES[key]), caption))
    return element("div", *plots, css="plots")


def _named(series: str) -> str:
    """Return "litserve json" for "litserve-json json"."""
    server, way = series.split()
    return f"{server.removesuffix(f'-{way}')} {way}"
