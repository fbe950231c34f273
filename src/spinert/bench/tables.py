"""A report on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from spinert.bench.comparing import Change, Comparison, Verdict
from spinert.bench.figures import ratio_text
from spinert.bench.latencies import percentile_text

__all__ = [
    "comparison_view",
    "devices_text",
    "failure_text",
    "report_rows",
    "report_view",
    "slowest_text",
]

_COLOURS: Final = {
    Verdict.WORSE: "bold red",
    Verdict.BETTER: "green",
    Verdict.SAME: "",
    Verdict.UNKNOWN: "yellow",
}

Row = tuple[str, str]


def report_view(report: Mapping[str, Any]) -> RenderableType:
    """Return the summary of a report; failed frames come first."""
    subject = report["subject"]
    title = (
        f"{subject['bundle_name']} {subject['bundle_version']}, {subject['backend']}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    table.add_column("measured")
    for row in report_rows(report):
        table.add_row(*row)
    return Group(*_failures(report), table)


def report_rows(report: Mapping[str, Any]) -> list[Row]:
    """Return (what, figure) of everything that a report holds in few words."""
    rows: list[Row] = []
    for name, make in _SECTIONS.items():
        if part := report.get(name):
            rows += make(part)
    return rows


def comparison_view(comparison: Comparison) -> RenderableType:
    """Return two reports side by side: how the second failed, then what is worse."""
    table = Table(title="after against before", title_justify="left")
    for name in ("figure", "before", "after", "ratio (95 %), above 1 is worse", ""):
        table.add_column(name)
    order = list(Verdict)
    changes = sorted(comparison.changes, key=lambda c: order.index(c.verdict))
    for change in changes:
        table.add_row(
            change.name,
            f"{change.before:.4g} {change.unit}",
            f"{change.after:.4g} {change.unit}",
            _change_text(change),
            Text(str(change.verdict), style=_COLOURS[change.verdict]),
        )
    worse = [Text(f"worse: {told}", style="bold red") for told in comparison.failures]
    notes = [Text(f"note: {told}", style="yellow") for told in comparison.warnings]
    return Group(*worse, *notes, table)


def _change_text(change: Change) -> str:
    if 0 in (change.before, change.after) and change.ratio != 1:
        return "from nothing" if change.before == 0 else "to nothing"
    return f"{change.ratio:.3f} ({change.low:.3f} to {change.high:.3f})"


def failure_text(report: Mapping[str, Any]) -> str:
    """Return how many frames have no answer, and why; empty: all have one."""
    failures = report["failures"]
    if not failures["frames"]:
        return ""
    reasons = ", ".join(f"{n} {why}" for why, n in failures["by_reason"].items())
    return f"{failures['frames']} frames have no answer: {reasons}"


def slowest_text(latency: Mapping[str, Any]) -> str:
    """Return the tail in one figure: p99, or the largest of too few frames for it."""
    if p99 := percentile_text(latency, "p99"):
        return f"p99 {p99} ms"
    return f"largest of {latency['count']}: {latency['max_ms']:.1f} ms"


def devices_text(load: Mapping[str, Any]) -> str:
    """Return how many devices sent: of a short load, not all that there are.

    Reports of before that was counted have at most a device for each frame.
    """
    most = min(load["devices"], load["sent"])
    that_sent = load.get("devices_that_sent")
    if that_sent == load["devices"] or (that_sent is None and most == load["devices"]):
        return str(load["devices"])
    told = f"at most {most}" if that_sent is None else str(that_sent)
    return f"{load['devices']} ({told} sent)"


def _failures(report: Mapping[str, Any]) -> Iterator[Text]:
    if told := failure_text(report):
        yield Text(f"FAILED: {told}", style="bold red")
    accuracy = report.get("accuracy")
    if accuracy and not accuracy["passed"]:
        yield Text("FAILED: the server answers otherwise than the pipeline", "bold red")


def _levels(part: Mapping[str, Any]) -> Iterator[Row]:
    for level, told in part["latency"].items():
        if told["count"]:
            yield (
                f"{level}, one frame at a time",
                f"p50 {told['p50_ms']:.2f} ms, {slowest_text(told)}",
            )
    for level, rates in part["throughput_per_s"].items():
        if rates:
            middle = sorted(rates)[len(rates) // 2]
            yield (
                f"{level}, {part['depth']} in flight",
                f"{middle:.2f} frames/s ({min(rates):.2f} to {max(rates):.2f})",
            )
    yield from _ratios(part["ratios"])
    if part["waterfall"]["stages"]:
        outside = f"{part['waterfall']['outside_ms']:.2f} ms"
        yield "outside of the engine by the receipts, p50", outside
    if energy := part["energy"]:
        yield (
            "energy",
            f"{energy['joules_per_frame']:.2f} J/frame at {energy['mean_watts']:.0f} W",
        )


def _ratios(ratios: Mapping[str, Any]) -> Iterator[Row]:
    if ratio := ratios.get("server_over_pipeline_throughput"):
        yield "server / pipeline, throughput", ratio_text(ratio)
    if added := ratios.get("added_latency_ms"):
        yield "added by the server, p50", f"{ratio_text(added)} ms"
    if "server_p99_over_p50" in ratios:
        yield "server, p99 / p50, one device", f"{ratios['server_p99_over_p50']:.2f}"


def _traffic(part: Mapping[str, Any]) -> Iterator[Row]:
    yield "capacity for the mix", f"{part['capacity_per_s']:.2f} frames/s"
    for load in part["loads"]:
        told = load["latency"]
        if told["count"]:
            yield (
                f"open loop, devices: {devices_text(load)}, "
                f"{load['offered_per_s']:.2f} frames/s",
                f"p50 {told['p50_ms']:.1f} ms, {slowest_text(told)}",
            )


def _mlperf(part: list[Mapping[str, Any]]) -> Iterator[Row]:
    for run in part:
        figures = []
        if run["judged_latency_ms"] is not None:
            figures.append(f"{run['judged_latency_ms']:.1f} ms")
        if run["per_s"] is not None:
            figures.append(f"{run['per_s']:.2f} frames/s")
        told = ", ".join(figures) or "no figure"
        why = "" if run["by_the_rules"] else ", shorter than the rules ask"
        yield f"MLPerf {run['scenario']}", f"{told}: {run['state']}{why}"


def _accuracy(part: Mapping[str, Any]) -> Iterator[Row]:
    yield (
        "answers of the server as in the pipeline",
        f"{part['bit_identical']} of {part['frames']} bit-identical"
        + ("" if part["passed"] else f", {len(part['differences'])} differ"),
    )


def _cold_start(part: Mapping[str, Any]) -> Iterator[Row]:
    again = ", ".join(f"{value:.2f}" for value in part["again_s"])
    yield "ready from start, certificate stored", f"{again} s"
    if part["first_s"] is not None:
        yield "first start, whole golden set", f"{part['first_s']:.2f} s"


def _memory(part: list[Mapping[str, Any]]) -> Iterator[Row]:
    pss = sum(process["pss_mib"] for process in part)
    yield "memory of the server", f"{pss:.0f} MiB in {len(part)} processes (PSS)"


_SECTIONS: Final[Mapping[str, Callable[[Any], Iterable[Row]]]] = {
    "levels": _levels,
    "traffic": _traffic,
    "mlperf": _mlperf,
    "accuracy": _accuracy,
    "cold_start": _cold_start,
    "memory": _memory,
}
