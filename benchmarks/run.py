"""`make bench`: run everything, print a table, write one JSON for this machine."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import bench_front
import bench_startup
import bench_throughput
from harness import HERE, machine, renew_readme, write_json
from rich.console import Console
from rich.table import Table
from tiny_bundle import network_alone_ms, write_tiny_bundle

_START = "<!-- results: written by run.py --readme -->"
_END = "<!-- end of results -->"
SERVED = "server_over_in_process"
SMALL_CONFIG = "[backend]\nthreads = 1\n[engine]\nprepare_threads = 1\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="the bench bundle")
    parser.add_argument("--only", choices=["front", "small", "demo", "startup"])
    parser.add_argument("--output", type=Path, default=HERE / "results" / "latest.json")
    parser.add_argument("--readme", action="store_true", help="renew its table")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    results: dict[str, Any] = {"date": str(date.today()), "machine": machine()}
    if arguments.only and arguments.output.exists():
        results = json.loads(arguments.output.read_text()) | results
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in _parts(arguments.bundle, Path(folder)).items():
            if arguments.only in (None, name):
                with console.status(f"measuring: {name}"):
                    results[name] = measure()
                write_json(arguments.output, results)
    if arguments.readme:
        renew_readme((_START, _END), results, arguments.output, _rows(results))
    Console().print(_table(results))
    Console().print(f"written to {arguments.output}")


def _parts(bundle: Path, work: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    def small() -> dict[str, Any]:
        tiny = write_tiny_bundle(work / "small", edge=224, channels=80)
        found = bench_throughput.measure(
            tiny, work, SMALL_CONFIG, size=(549, 548), frames=600, rounds=7
        )
        return {"each_network_alone_ms": network_alone_ms(tiny, 224), **found}

    def demo() -> dict[str, Any]:
        return bench_throughput.measure(
            bundle, work, "", size=(2500, 2000), frames=24, rounds=3
        )

    return {
        "front": lambda: bench_front.measure(work),
        "small": small,
        "demo": demo,
        "startup": lambda: bench_startup.measure(bundle, work),
    }


def _rows(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (what, figure, target) of everything that was measured."""
    rows = []
    for name, key, label, target in (
        ("front", "front_over_echo", "CPU per frame, front / bare echo", "<= 1.4"),
        ("front", "server_over_echo", "CPU per frame, with everything / bare echo", ""),
        ("small", SERVED, "frames/s, server / in-process, small networks", ">= 0.90"),
        ("demo", SERVED, "frames/s, server / in-process, bench bundle", ">= 0.90"),
    ):
        if found := results.get(name, {}).get(key):
            spread = f"{found['median']:.2f} ({found['min']:.2f}-{found['max']:.2f})"
            rows.append((label, spread, target))
    if start := results.get("startup"):
        ready = ", ".join(f"{v:.1f}" for v in start["ready_s_with_stored_pass"])
        imported = f"{start['import_spinert_runtime_s']:.3f}"
        rss = f"{start['front_with_empty_networks_rss_mib'] * 1.048576:.0f}"
        rows += [
            ("ready from start, bench bundle, with a certificate (s)", ready, "<= 8"),
            ("import spinert.runtime (s)", imported, "<= 0.3"),
            ("front process, networks of a few bytes (MB RSS)", rss, "<= 150"),
        ]
    return rows


def _table(results: dict[str, Any]) -> Table:
    table = Table(title="SpineRT on this machine", title_justify="left")
    for column in ("what", "figure", "target"):
        table.add_column(column)
    for row in _rows(results):
        table.add_row(*row)
    return table


if __name__ == "__main__":
    main()
