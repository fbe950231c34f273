"""Sections of the page, one for each part of a report that may be absent."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spinert.bench.latencies import percentile_text
from spinert.bench.plots import (
    Bar,
    Line,
    bar_plot,
    latency_plot,
    line_plot,
    load_plot,
)
from spinert.bench.tables import devices_text
from spinert.runtime.report.html import Html, element, joined, table, text
from spinert.runtime.report.plotting import plot_figure

__all__ = [
    "accuracy_section",
    "cold_start_section",
    "layer_section",
    "mlperf_section",
    "scaling_section",
    "traffic_section",
]

_PERCENTILES = ("p50", "p90", "p99", "p999", "max")


def traffic_section(part: Mapping[str, Any] | None) -> Iterator[Html]:
    """Yield the open loop."""
    if part is None or not part["loads"]:
        return
    loads = part["loads"]
    syntaxes = ", ".join(dict.fromkeys(frame["syntax"] for frame in part["frames"]))
    sizes = [frame["bytes"] / 1e6 for frame in part["frames"]]
    yield element("h2", text("Latency under load"))
    about = (
        f"Frames of {min(sizes):.1f} to {max(sizes):.1f} MB ({syntaxes}) are sent when "
        "they are due, whatever the server does; latency counts from then, and so "
        "holds what a load that waits for answers would hide. Capacity is the "
        f"throughput of a closed loop: {part['capacity_per_s']:.2f} frames/s."
    )
    yield element("p", text(about), css="soft")
    varied = [load for load in loads if load["varied"] == "load"]
    capacity = part["capacity_per_s"]
    names = {
        f"{load['offered_per_s'] / capacity:.0%}": load["latency"] for load in varied
    }
    by_load = "Latency of all frames, by the share of the capacity that is offered"
    plots = [
        plot_figure(load_plot(varied, capacity), "Latency against load"),
        plot_figure(latency_plot(names), by_load),
    ]
    yield element("div", *plots, css="plots")
    yield element("div", _load_table(loads), css="card")


def mlperf_section(part: Sequence[Mapping[str, Any]] | None) -> Iterator[Html]:
    """Yield LoadGen's scenarios."""
    if not part:
        return
    yield element("h2", text("MLPerf scenarios"))
    about = (
        "Measured by MLCommons' LoadGen, in a process of its own, over gRPC. INVALID "
        "is LoadGen's word for a run that was too short, or too slow for its bound. "
        "These are no submitted MLPerf results."
    )
    yield element("p", text(about), css="soft")
    rows = []
    for run in part:
        bound = run["latency_bound_ms"]
        judged, rate = run["judged_latency_ms"], run["per_s"]
        cells = (
            run["scenario"],
            "" if judged is None else f"{judged:.1f}",
            "" if bound is None else f"{bound:.0f}",
            "" if rate is None else f"{rate:.2f}",
            f"{run['latency'].get('p50_ms', 0):.1f}",
        )
        state = "good" if run["state"] == "VALID" else "bad"
        badge = element("span", text(run["state"]), css=f"badge {state}")
        told = [badge, text(" ".join(run["reasons"]))]
        rows.append(("", [*(text(cell) for cell in cells), *told]))
    header = (
        "scenario",
        "judged ms",
        "bound ms",
        "frames/s",
        "p50 ms",
        "state",
        "LoadGen says",
    )
    yield element("div", table(header, rows, numbers=(1, 2, 3, 4)), css="card")


def accuracy_section(part: Mapping[str, Any] | None) -> Iterator[Html]:
    """Yield whether the server answers as the pipeline does."""
    if part is None:
        return
    yield element("h2", text("Answers"))
    told = (
        f"LoadGen's accuracy mode: of {part['frames']} frames, {part['answered']} were "
        f"answered by server and pipeline, {part['bit_identical']} of them "
        "bit-identical; probabilities differ by "
        f"{part['largest_probability_difference']:.2g} at most."
    )
    yield element("p", text(told))
    for line in part["differences"]:
        yield element("p", text(line), css="failure")


def scaling_section(part: Mapping[str, Any] | None) -> Iterator[Html]:
    """Yield throughput by batch, devices and cores."""
    if part is None:
        return
    yield element("h2", text("Scaling"))
    plots = []
    networks = dict.fromkeys(entry["network"] for entry in part["batch"])
    lines = [
        Line(
            name=network,
            x=[e["batch"] for e in part["batch"] if e["network"] == network],
            y=[
                statistics.median(e["ms_per_image"])
                for e in part["batch"]
                if e["network"] == network
            ],
        )
        for network in networks
    ]
    plot = line_plot(lines, x="batch", y="ms per image", log_x=True)
    plots.append(plot_figure(plot, "Networks alone"))
    for key, what in (("devices", "devices"), ("cores", "cores of the server")):
        entries = part[key]
        line = Line(
            name="", x=[e[key] for e in entries], y=[e["per_s"] for e in entries]
        )
        plot = line_plot([line], x=what, y="frames/s", log_x=True)
        captions = {
            "devices": "Devices that each send one frame at a time",
            "cores": "Servers that may use some of the cores",
        }
        plots.append(plot_figure(plot, captions[key]))
    yield element("div", *plots, css="plots")


def layer_section(part: Sequence[Mapping[str, Any]] | None) -> Iterator[Html]:
    """Yield the operators of each network."""
    if not part:
        return
    yield element("h2", text("Inside the networks"))
    plots = []
    for network in part:
        layers = network["layers"]
        bars = [
            Bar(
                name=f"{layer['operator']} ({layer['nodes']})",
                value=100 * layer["share"],
                told=f"{layer['share']:.1%}",
            )
            for layer in layers
        ]
        caption = (
            f"{network['network']}: {network['total_ms']:.1f} ms in nodes, by operator "
            "(how many), from the backend's own profile"
        )
        plots.append(plot_figure(bar_plot(bars, x="% of the time"), caption))
    yield element("div", *plots, css="plots")


def cold_start_section(
    part: Mapping[str, Any] | None, memory: Sequence[Mapping[str, Any]] | None
) -> Iterator[Html]:
    """Yield the start, and the memory at the end."""
    if part is not None:
        yield element("h2", text("Start"))
        first = part["first_s"]
        again = ", ".join(f"{value:.2f} s" for value in part["again_s"])
        told = f"Ready after {again} with a stored certificate"
        told += "." if first is None else f"; {first:.2f} s with the whole golden set."
        yield element("p", text(told))
        steps = [step for step in part["steps"] if step["event"] != "progress"]
        rows = [
            ("", [text(step["event"].replace("_", " ")), text(f"{step['at_s']:.2f}")])
            for step in steps
        ]
        yield element("div", table(("step", "at s"), rows, numbers=(1,)), css="card")
    if memory:
        yield element("h2", text("Memory"))
        keys = ("rss_mib", "pss_mib")
        rows = [
            ("", [text(p["process"]), *(text(f"{p[key]:.0f}") for key in keys)])
            for p in memory
        ]
        header = ("process of the server", "RSS MiB", "PSS MiB")
        yield element("div", table(header, rows, numbers=(1, 2)), css="card")


def _load_table(loads: Sequence[Mapping[str, Any]]) -> Html:
    rows = []
    for load in loads:
        told = load["latency"]
        failed = sum(load["failures"].values())
        figures = [percentile_text(told, p) for p in _PERCENTILES]
        cells = (
            devices_text(load),
            f"{load['offered_per_s']:.2f}",
            load["sent"],
            *figures,
            failed or "",
        )
        rows.append(("bad" if failed else "", [text(cell) for cell in cells]))
    header = (
        "devices",
        "offered /s",
        "sent",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "largest ms",
        "failed",
    )
    note = "Empty: fewer frames than a percentile needs (100 for p99, 1,000 for p99.9)"
    return joined(
        (
            table(header, rows, numbers=range(len(header))),
            element("p", text(note), css="soft"),
        )
    )
