"""A report as one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from spinert.bench.figures import ratio_text
from spinert.bench.latencies import percentile_text
from spinert.bench.page_parts import (
    accuracy_section,
    cold_start_section,
    layer_section,
    mlperf_section,
    scaling_section,
    traffic_section,
)
from spinert.bench.plots import latency_plot, waterfall_plot
from spinert.bench.tables import failure_text, slowest_text
from spinert.runtime.backends.precision import precision_text
from spinert.runtime.report.html import Html, document, element, joined, table, text
from spinert.runtime.report.plotting import plot_figure

__all__ = ["page_from_report"]

_STYLE: Final = """
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr));
  gap: 12px; margin: 16px 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 16px; }
.tile b { display: block; font-size: 24px; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr));
  gap: 12px; align-items: start; }
.plots figure, .card figure { margin: 0; }
.plots figure { background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: 12px 14px; }
figure img { display: block; width: 100%; height: auto; }
.single figure { max-width: 760px; }
figcaption { font-size: 13px; color: var(--soft); margin-top: 4px; }
td { font-size: 14px; }
"""


def page_from_report(report: Mapping[str, Any], *more: Html) -> Html:
    """Return the page of a report; `more` stands below its summary."""
    subject = report["subject"]
    name = f"{subject['bundle_name']} {subject['bundle_version']}"
    return document(
        f"{name}: measured",
        *_opening(report, name),
        *more,
        *_levels(report.get("levels")),
        *traffic_section(report.get("traffic")),
        *mlperf_section(report.get("mlperf")),
        *accuracy_section(report.get("accuracy")),
        *scaling_section(report.get("scaling")),
        *layer_section(report.get("layers")),
        *cold_start_section(report.get("cold_start"), report.get("memory")),
        style=_STYLE,
    )


def _opening(report: Mapping[str, Any], name: str) -> Iterator[Html]:
    machine, subject = report["machine"], report["subject"]
    yield element("h1", text(name))
    backend = subject["backend"]
    precision = precision_text(backend, subject["precision"])
    told = f"{backend}, {precision}, on {machine['cpu']}"
    yield element("p", text(told), css="soft")
    if subject["notice"]:
        yield element("p", text(subject["notice"]), css="notice")
    if subject["degraded"]:
        yield element("p", text("The fallback was measured."), css="failure")
    if failed := failure_text(report):
        yield element("p", text(failed), css="failure")
    accuracy = report.get("accuracy")
    if accuracy and not accuracy["passed"]:
        told = "The server answers otherwise than the pipeline: see below."
        yield element("p", text(told), css="failure")
    yield element("div", *_tiles(report), css="tiles")
    yield element("div", _facts(report), css="card")


def _tiles(report: Mapping[str, Any]) -> Iterator[Html]:
    if levels := report.get("levels"):
        told, ratios = levels["latency"]["server"], levels["ratios"]
        if told["count"]:
            p50 = f"{told['p50_ms']:.1f} ms"
            yield _tile("one frame, server, p50", p50, slowest_text(told))
        if added := ratios.get("added_latency_ms"):
            about = f"{added['min']:.2f} to {added['max']:.2f} ms, p50"
            yield _tile("added by the server", f"{added['median']:.2f} ms", about)
        if ratio := ratios.get("server_over_pipeline_throughput"):
            about = f"{ratio['min']:.2f} to {ratio['max']:.2f}"
            yield _tile(
                "throughput, server / pipeline", f"{ratio['median']:.2f}", about
            )
    if traffic := report.get("traffic"):
        about = f"mix of {len(traffic['frames'])} frames"
        yield _tile("capacity", f"{traffic['capacity_per_s']:.1f} /s", about)
    if start := report.get("cold_start"):
        ready = sorted(start["again_s"])[len(start["again_s"]) // 2]
        yield _tile("ready from start", f"{ready:.1f} s", "certificate stored")


def _tile(name: str, value: str, about: str) -> Html:
    return element(
        "div",
        element("span", text(name), css="soft"),
        element("b", text(value)),
        element("span", text(about), css="soft"),
        css="tile",
    )


def _facts(report: Mapping[str, Any]) -> Html:
    machine, subject = report["machine"], report["subject"]
    settings = report["settings"]
    load = ", ".join(f"{value:g}" for value in machine["load_average"])
    facts = {
        "measured": f"{report['made_at']} by spinert {report['spinert']}",
        "machine": f"{machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']:g} GiB, load average {load}",
        "GPU": ", ".join(machine["gpus"]) or "none",
        "system": f"{machine['system']}, Python {machine['python']}",
        "governor": machine["governor"] or "not to be read",
        "bundle SHA-256": subject["bundle_sha256"],
        "networks": ", ".join(f"{r} {a}" for r, a in subject["networks"].items()),
        "server": f"{subject['where']}, spinert {subject['runtime_version']}",
        "packages": ", ".join(
            f"{name} {version}"
            for name, version in machine["packages"].items()
            if version
        ),
        "run": f"{settings['rounds']} rounds, {settings['seconds']:g} s each, seed "
        f"{settings['seed']}",
    }
    return element(
        "dl",
        *(
            joined((element("dt", text(name)), element("dd", text(value))))
            for name, value in facts.items()
        ),
    )


def _levels(part: Mapping[str, Any] | None) -> Iterator[Html]:
    if part is None:
        return
    frame = part["frame"]
    yield element("h2", text("Levels: who owns each millisecond"))
    about = (
        f"A raw frame of {frame['rows']} x {frame['columns']} pixels, "
        f"{frame['bytes'] / 1e6:.1f} MB, one at a time: the networks alone, the engine "
        "in one process (decoding, preprocessing, queues, fusion), and a server over "
        "loopback. Levels take turns, round by round."
    )
    yield element("p", text(about), css="soft")
    yield element("div", _level_table(part), css="card")
    plot = latency_plot(part["latency"], width=7.6)
    yield element(
        "div",
        plot_figure(plot, "Latency of one frame at a time, by level"),
        css="card single",
    )
    yield from _waterfall(part["waterfall"])


def _level_table(part: Mapping[str, Any]) -> Html:
    rows = []
    for level, told in part["latency"].items():
        if not told["count"]:
            continue
        rates = sorted(part["throughput_per_s"].get(level, []))
        rate = f"{rates[len(rates) // 2]:.2f}" if rates else ""
        figures = [percentile_text(told, p, 2) for p in ("p50", "p90", "p99", "max")]
        cells = [level, str(told["count"]), *figures, rate]
        rows.append(("", [text(cell) for cell in cells]))
    header = (
        "level",
        "frames",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "largest ms",
        f"frames/s, {part['depth']} in flight",
    )
    whole = [table(header, rows, numbers=range(1, len(header)))]
    if ratio := part["ratios"].get("server_over_pipeline_throughput"):
        told = f"Throughput, server over pipeline: {ratio_text(ratio)}."
        whole.append(element("p", text(told)))
    if energy := part["energy"]:
        told = (
            f"Energy: {energy['joules_per_frame']:.2f} J a frame, "
            f"{energy['mean_watts']:.0f} W on average; {energy['what']}."
        )
        whole.append(element("p", text(told)))
    return joined(whole)


def _waterfall(part: Mapping[str, Any]) -> Iterator[Html]:
    if not part["stages"]:
        return
    caption = (
        "Median start and duration of each stage of a frame, from its receipt; what is "
        "outside of the engine is drawn half before and half after it"
    )
    yield element("div", plot_figure(waterfall_plot(part), caption), css="card single")
    owners = sorted(part["mean_ms"].items(), key=lambda entry: -entry[1])
    total = sum(value for _, value in owners) or 1.0
    rows = [
        ("", [text(name), text(f"{value:.3f}"), text(f"{value / total:.1%}")])
        for name, value in owners
    ]
    rows.append(("", [text("together"), text(f"{total:.3f}"), text("")]))
    told = "Mean; stages at the same time share it, so that owners add up"
    yield element(
        "div",
        table(("owner", "ms", "share"), rows, numbers=(1, 2)),
        element("p", text(told), css="soft"),
        css="card",
    )
