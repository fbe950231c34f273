"""`make bench`: measure everything a CPU can, in about ten minutes.

Prints a table, and writes all figures as JSON and as a page for this machine. A part
that fails is told, and stops no other; the exit code is 1 then, and where a frame had
no answer or a wrong one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench_decoders
import bench_front
import bench_peers
import bench_preprocess
import bench_startup
import bench_throughput
import bench_transport
from harness import HERE, Part, between_marks, machine, renew_readme, write_json
from peer_ways import PEERS
from rich.console import Console
from rich.table import Table
from run_page import page_from_results
from run_rows import failures_from_results, rows_from_results, verdict
from run_stamps import commit_of, stamped
from tiny_bundle import network_alone_ms, write_tiny_bundle

from spinert.runtime.bundle import CLASSIFIER, load_bundle

MARKS = ("<!-- results: written by run.py --readme -->", "<!-- end of results -->")
PAGES = (HERE / "README.md", HERE.parent / "README.md")
TABLES: tuple[Part, ...] = (bench_preprocess.PART, bench_decoders.PART)
"""Parts with a table of their own in the README beside the results."""
SMALL_CONFIG = "[backend]\nthreads = 1\n[engine]\nprepare_threads = 1\n"
# A p99 takes a hundred frames: so many rounds of about twenty.
REPORT_WORDS = ("--seconds", "2", "--rounds", "6", "--devices", "1,16,256")
QUICK_PEERS = ("pytriton", "litserve-json", "mosec")
"""Those that the targets name, and the fastest."""
FAILED = 1
"""Exit code of `spinert bench run` where a frame had no answer or a wrong one."""

Measure = Callable[[], dict[str, Any]]


def _arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="parts, by name")
    parser.add_argument("--without", nargs="*", default=[], help="likewise")
    parser.add_argument("--peers", choices=["quick", "all"], default="quick")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "latest.json")
    parser.add_argument("--readme", action="store_true", help="renew its tables")
    return parser, parser.parse_args()


def main() -> None:
    parser, arguments = _arguments()
    results: dict[str, Any] = {}
    if arguments.only and arguments.output.exists():
        results = json.loads(arguments.output.read_text())
    peers = QUICK_PEERS if arguments.peers == "quick" else tuple(PEERS)
    with tempfile.TemporaryDirectory() as folder:
        parts = _parts(arguments.bundle, Path(folder), peers)
        wanted = set(arguments.only or parts) - set(arguments.without)
        if unknown := wanted - parts.keys():
            parser.error(f"no such part: {', '.join(sorted(unknown))}")
        started = time.perf_counter()
        results = measured(parts, wanted, results, arguments.output)
    if wanted == parts.keys() and peers == QUICK_PEERS:
        results["make_bench_s"] = round(time.perf_counter() - started, 1)
        write_json(arguments.output, results)
    page = arguments.output.with_suffix(".html")
    page.write_text(page_from_results(results))
    if arguments.readme:
        _renew(results, arguments.output)
    console = Console()
    console.print(_table(results))
    console.print(f"written to {arguments.output} and {page.name}")
    if failures := failures_from_results(results, wanted):
        console.print("FAILED:", *failures, sep="\n  ", style="bold red", markup=False)
        sys.exit(1)


def measured(
    parts: dict[str, Measure],
    wanted: set[str],
    kept: dict[str, Any],
    output: Path,
) -> dict[str, Any]:
    """Measure parts, each of which is written as it is found, with its stamp.

    Args:
        parts: All there are.
        wanted: Those to measure, by name.
        kept: Results of before; parts that are not measured stay.
        output: Where the results are written.
    """
    console = Console(stderr=True)
    run = {
        "run": f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}",
        "commit": commit_of(HERE),
        "machine": machine(),
    }
    results = stamped(kept, parts)
    results |= {"date": run["run"].partition(" ")[0], "machine": run["machine"]}
    failed = results.setdefault("failed", {})
    for name in (name for name in parts if name in wanted):
        for told in (results, failed, results["stamps"]):
            told.pop(name, None)
        began = time.perf_counter()
        try:
            with console.status(f"measuring: {name}"):
                results[name] = parts[name]()
        except Exception as error:  # whatever it is, the other parts are measured
            failed[name] = f"{type(error).__name__}: {error}"[-500:]
            console.print(f"{name}: {failed[name]}", style="red", markup=False)
        else:
            spent_s = round(time.perf_counter() - began, 1)
            results["stamps"][name] = {**run, "seconds": spent_s}
        write_json(output, results)
    return results


def _parts(bundle: Path, work: Path, peers: Sequence[str]) -> dict[str, Measure]:
    def small() -> dict[str, Any]:
        tiny = write_tiny_bundle(work / "small", edge=224, channels=80)
        found = bench_throughput.measure(
            tiny, work, SMALL_CONFIG, size=(549, 548), frames=600, rounds=5
        )
        return {"each_network_alone_ms": network_alone_ms(tiny, 224), **found}

    return {
        "front": lambda: bench_front.measure(work),
        "small": small,
        "startup": lambda: bench_startup.measure(bundle, work),
        "report": lambda: _report(bundle, work),
        "peers": lambda: bench_peers.measure(work, rounds=5, seconds=1.5, peers=peers),
        "peers_network": lambda: _peers_network(bundle, work, peers),
        "transport": lambda: bench_transport.measure(work, rounds=5, frames=40),
        "preprocess": lambda: _script("preprocess", work, "--rounds", "5"),
        "decoders": lambda: _script("decoders", work, "--rounds", "3"),
        "overload": lambda: _script("overload", work, "--rounds", "3"),
    }


def _peers_network(bundle: Path, work: Path, peers: Sequence[str]) -> dict[str, Any]:
    """Compare with the peers on the classifier of the bundle."""
    stated = load_bundle(bundle).spec.networks[CLASSIFIER]
    found = bench_peers.measure_network(
        bundle / stated.file, work, rounds=4, seconds=2.0, peers=peers
    )
    return {"network": stated.architecture, **found}


def _script(name: str, work: Path, *words: str) -> dict[str, Any]:
    """Run `bench_NAME.py`, which may bind itself to one core, as a process."""
    path = work / f"{name}.json"
    script = str(HERE / f"bench_{name}.py")
    command = [sys.executable, script, "--output", str(path), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _report(bundle: Path, work: Path) -> dict[str, Any]:
    """Run `spinert bench run` as a user would; a report of failures is a report."""
    path = work / "report.json"
    command = [sys.executable, "-m", "spinert", "bench", "run"]
    command += ["--bundle", str(bundle), "-o", str(path), *REPORT_WORDS]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, FAILED) or not path.exists():
        raise RuntimeError(done.stderr[-500:])
    found: dict[str, Any] = json.loads(path.read_text())
    if done.returncode and not failures_from_results({"report": found}, {"report"}):
        raise RuntimeError(done.stderr[-500:])
    return found


def _renew(results: dict[str, Any], source: Path) -> None:
    """Renew the tables of all pages."""
    renew_readme(MARKS, results, source, rows_from_results(results), PAGES)
    page = HERE / "README.md"
    for part in TABLES:
        if found := results.get(part.name):
            table = part.table(found, source)
            page.write_text(between_marks(page.read_text(), part.marks, table))


def _table(results: dict[str, Any]) -> Table:
    table = Table(title="SpineRT on this machine", title_justify="left")
    for column in ("what", "figure", "target", ""):
        table.add_column(column)
    for row in rows_from_results(results):
        table.add_row(*row, verdict(row))
    return table


if __name__ == "__main__":
    main()
