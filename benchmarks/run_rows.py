"""What was measured, in a row each: (what, figure, target)."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness import ratio
from peer_ways import PEERS

from spinert.bench.tables import devices_text

Row = tuple[str, str, str]
SERVED = "server_over_in_process"
FRONT = "spinert-front streamed"
KSERVE = "spinert-kserve streamed"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_TARGET = re.compile(r"(?:(?P<sign>[<>]=) )?(?P<limit>[\d.]+)(?: %)?")
_WITHIN = "all within tolerances"
_BEYOND = "not " + _WITHIN
ECHO = "echo streamed"
_BELOW = {"networks": "the networks alone", "pipeline": "the pipeline in one process"}
PEER_TARGETS = {"pytriton unary": ">= 3", "litserve-json json": ">= 6"}


def rows_from_results(results: Mapping[str, Any]) -> list[Row]:
    """Return a row for everything that `run.py` measured."""
    rows: list[Row] = []
    for name, make in _SECTIONS.items():
        if part := results.get(name):
            rows += make(part)
    for name, why in results.get("failed", {}).items():
        # One line that ends no cell of a table.
        told = " ".join(why.replace("|", "/").split())
        rows.append((f"part {name}", f"failed: {told}", "measured"))
    if "make_bench_s" in results:
        minutes = f"{results['make_bench_s'] / 60:.1f}"
        rows.append(("make bench, all parts (min)", minutes, "<= 10"))
    return rows


def failures_from_results(
    results: Mapping[str, Any], measured: Iterable[str]
) -> list[str]:
    """Return, in a line each, what of `measured` did not do what it is measured for."""
    told = [
        f"{name}: {why}"
        for name, why in results.get("failed", {}).items()
        if name in measured
    ]
    if "report" in results and "report" in measured:
        report = results["report"]
        if count := report["failures"]["frames"]:
            told.append(f"report: {count} frames have no answer")
        if "accuracy" in report and not report["accuracy"]["passed"]:
            told.append("report: the server answers otherwise than the pipeline")
    return told


def verdict(row: Row) -> str:
    """Return whether the first number of a figure, its median, is as was wanted.

    Whether answers are within tolerances, or a part was measured at all, is in words.
    """
    _, figure, target = row
    if target == _WITHIN:
        return "missed" if _BEYOND in figure else "met"
    if figure.startswith("failed: "):
        return "missed"
    found, wanted = _NUMBER.search(figure), _TARGET.fullmatch(target)
    if not found or not wanted:
        return ""
    measured, limit = float(found[0]), float(wanted["limit"])
    is_met = {">=": measured >= limit, "<=": measured <= limit}
    return "met" if is_met.get(wanted["sign"], measured == limit) else "missed"


def spread(found: Mapping[str, Any]) -> str:
    """Return the median with the smallest and the largest round."""
    to = " to " if found["min"] < 0 else "-"
    return f"{found['median']:.2f} ({found['min']:.2f}{to}{found['max']:.2f})"


def _rounds_spread(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Return the ratio of paired rounds with its spread."""
    return spread(ratio(ours, theirs).as_json())


def _front(part: Mapping[str, Any]) -> Iterator[Row]:
    label = "CPU per 602 KB frame, front / bare echo"
    yield label, spread(part["front_over_echo"]), "<= 1.25"
    label = "CPU per 602 KB frame, with everything / bare echo"
    yield label, spread(part["server_over_echo"]), ""


def _small(part: Mapping[str, Any]) -> Iterator[Row]:
    yield "frames/s, server / in-process, small networks", spread(part[SERVED]), ""


def _startup(part: Mapping[str, Any]) -> Iterator[Row]:
    ready_s = part["ready_s_with_stored_pass"]
    told = f"{statistics.median(ready_s):.2f} ({min(ready_s):.2f}-{max(ready_s):.2f})"
    yield "ready from start, with a certificate (s)", told, "<= 3"
    imported = f"{part['import_spinert_runtime_s']:.3f}"
    yield "import spinert.runtime (s)", imported, "<= 0.3"
    rss = f"{part['front_with_empty_networks_rss_mib'] * 1.048576:.0f}"
    yield "front process, networks of a few bytes (MB RSS)", rss, "<= 150"


def _report(part: Mapping[str, Any]) -> Iterator[Row]:
    bundle = part["subject"]["bundle_name"]
    frames = str(part["failures"]["frames"])
    yield f"frames without an answer, {bundle}", frames, "0"
    yield from _levels(part.get("levels"), bundle)
    for load in part.get("traffic", {}).get("loads", [])[-1:]:
        yield "simulated devices in the last open loop", devices_text(load), ""
    yield from _mlperf(part.get("mlperf", []), bundle)
    if accuracy := part.get("accuracy"):
        told = f"{accuracy['bit_identical']} of {accuracy['frames']}"
        told += "" if accuracy["passed"] else f", {_BEYOND}"
        label = "answers of the server bit-identical with the pipeline's"
        yield label, told, _WITHIN


def _levels(levels: Mapping[str, Any] | None, bundle: str) -> Iterator[Row]:
    if levels is not None:
        ratios = levels["ratios"]
        if ratio := ratios.get("server_over_pipeline_throughput"):
            label = f"frames/s, server / pipeline, {bundle}"
            yield label, spread(ratio), ">= 0.97"
        if added := ratios.get("added_latency_ms"):
            size = levels["frame"]["bytes"] / 1e6
            label = f"added by the server, one device, raw {size:.1f} MB, p50 (ms)"
            yield label, spread(added), "<= 2.5"
        outside = f"{levels['waterfall']['outside_ms']:.2f}"
        yield "client, wire and front by the receipts, p50 (ms)", outside, "<= 2.5"
        if "server_p99_over_p50" in ratios:
            told = f"{ratios['server_p99_over_p50']:.2f}"
            yield f"p99 / p50 at one device, {bundle}", told, "<= 1.15"
        for level, what in _BELOW.items():
            told = levels["latency"].get(level, {})
            if "p99_ms" in told:
                over = f"{told['p99_ms'] / told['p50_ms']:.2f}"
                yield f"p99 / p50 of {what}, no server, {bundle}", over, ""


def _mlperf(runs: Sequence[Mapping[str, Any]], bundle: str) -> Iterator[Row]:
    for run in runs:
        if run["judged_latency_ms"] is not None:
            told = f"{run['judged_latency_ms']:.0f} ms"
        else:
            told = f"{run['per_s']:.2f} /s"
        short = "" if run["by_the_rules"] else ", a run shorter than the rules ask"
        label = f"MLPerf {run['scenario']}, {bundle}{short}"
        yield label, f"{told} ({run['state']})", ""


def _peers(part: Mapping[str, Any]) -> Iterator[Row]:
    over = part["throughput_ours_over"]
    for ours, whose in ((FRONT, "front"), (KSERVE, "KServe, same network")):
        for name, found in over.get(ours, {}).items():
            if name != ECHO:
                target = PEER_TARGETS.get(name, "") if ours == FRONT else ""
                label = f"requests/s of 602 KB, {whose}, streamed / {name}"
                yield label, spread(found), target
    yield from _beside_the_echo(part["series"])
    yield from _not_measured(part, "")


def _beside_the_echo(series: Mapping[str, Any]) -> Iterator[Row]:
    """Yield what no front of gRPC in Python can be far beyond."""
    echo = series.get(ECHO)
    for ours, theirs in ((FRONT, ECHO), (ECHO, "pytriton unary")):
        if echo and ours in series and theirs in series:
            told = _rounds_spread(series[ours]["per_s"], series[theirs]["per_s"])
            names = [name.replace("echo", "bare echo") for name in (ours, theirs)]
            label = " / ".join(names).replace("spinert-front", "front,")
            yield f"requests/s of 602 KB, {label}", told, ""


def _not_measured(part: Mapping[str, Any], which: str) -> Iterator[Row]:
    for name, why in part["absent"].items():
        yield f"{name}{which}", f"not measured: {why}", ""
    measured = {name.partition(" ")[0] for name in part["series"]}
    if left_out := [n for n in PEERS if n not in measured | part["absent"].keys()]:
        how = "not in this run: --only peers peers_network --peers all measures them"
        yield f"{', '.join(left_out)}{which}", how, ""


def _peers_network(part: Mapping[str, Any]) -> Iterator[Row]:
    for name, found in part["throughput_ours_over"][KSERVE].items():
        label = (
            f"requests/s, {part['network']} on one thread, KServe, streamed / {name}"
        )
        yield label, spread(found), ""
    yield from _not_measured(part, f", {part['network']}")


def _transport(part: Mapping[str, Any]) -> Iterator[Row]:
    ratios = part["ratios"]
    for key, label in (
        ("large_tcp_over_echo_p50_ms", "15 MB frame over TCP, front / bare echo, p50"),
        ("large_tcp_over_echo_cpu_ms", "15 MB frame over TCP, front / bare echo, CPU"),
        ("small_tcp_over_echo_cpu_ms", "602 KB frame over TCP, front / bare echo, CPU"),
    ):
        if key in ratios:
            yield label, spread(ratios[key]), "<= 1.25"
    if shared := part["large"].get("shared"):
        told = f"{statistics.median(shared['p50_ms']):.2f}"
        yield "15 MB frame in shared memory, p50 (ms)", told, "<= 3"
        read = f"{statistics.median(part['read']['ms']['two']):.2f}"
        yield "reading those 15 MB alone, with a helper (ms)", read, ""
    yield from _fronts(part)


def _fronts(part: Mapping[str, Any]) -> Iterator[Row]:
    """Yield what a second process that receives costs, and takes off the first."""
    for size, told in (("small", "602 KB"), ("large", "15 MB")):
        if two := part[size].get("fronts"):
            one, label = part[size]["tcp"], f"2 front processes / none, {told}"
            for key, what in (
                ("cpu_ms", "CPU of all processes"),
                ("first_process_cpu_ms", "CPU of the executor"),
                ("frames_per_s", "frames/s"),
            ):
                yield f"{label}: {what}", _rounds_spread(two[key], one[key]), ""


def _preprocess(part: Mapping[str, Any]) -> Iterator[Row]:
    for case in part["preprocess"]["cases"]:
        if (case["rows"], case["columns"], case["bits"]) == (2500, 1600, 16):
            label = "preprocessing 2,500 x 1,600, 16 bit, one core"
            faster = spread(case["reference_over_native"])
            yield f"{label}: times faster than NumPy and Pillow", faster, ">= 8"
            share = f"{case['share_of_copy_bandwidth']['median']:.0%}"
            yield f"{label}: of copy bandwidth, image read once", share, ">= 50 %"


def _decoders(part: Mapping[str, Any]) -> Iterator[Row]:
    frame = part["decoders"]["frame"]
    told = f"{frame['both_ms']:.0f} (worst {frame['both_ms_worst']:.0f})"
    yield "JPEG Lossless 2,500 x 2,000: decode + preprocess (ms)", told, "<= 120"


def _overload(part: Mapping[str, Any]) -> Iterator[Row]:
    for times in ("3", "10"):
        load = part["loads"][times]
        goodput = f"{load['goodput_over_peak']:.2f}"
        yield f"goodput at {times}x capacity / peak", goodput, ">= 0.90"
        used = f"{load['accepted_p99_over_deadline']:.3f}"
        yield f"p99 of accepted frames / deadline, at {times}x", used, "<= 1"
        late = f"{load['accepted_too_late']:.2%}"
        yield f"accepted frames that were not in time, at {times}x", late, ""
        refusing = f"{load['refusing_p99_ms']:.2f}"
        yield f"time to refuse a frame at {times}x, p99 (ms)", refusing, "<= 2"


_SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], Iterable[Row]]] = {
    "front": _front,
    "small": _small,
    "report": _report,
    "startup": _startup,
    "peers": _peers,
    "peers_network": _peers_network,
    "transport": _transport,
    "preprocess": _preprocess,
    "decoders": _decoders,
    "overload": _overload,
}
