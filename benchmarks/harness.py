"""What every benchmark shares: processes, CPU time, ratios, the machine."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psutil
from run_stamps import runs_text

from spinert.bench.machine import machine_from_host
from spinert.bench.processes import ProcessTree

HERE = Path(__file__).parent
READY = r'"event": ?"ready".*"address": ?"([^"]+)"'
"""What our servers log once they can be asked."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Ours over theirs, one value for each alternating round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def as_json(self) -> dict[str, Any]:
        return {
            "median": round(self.median, 3),
            "min": round(min(self.values), 3),
            "max": round(max(self.values), 3),
            "rounds": len(self.values),
        }

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.values):.2f}-{max(self.values):.2f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Pair the rounds: neighbours in time meet the same noise."""
    return Ratio(values=tuple(a / b for a, b in zip(ours, theirs, strict=True)))


@dataclass
class Server:
    """A server process under test."""

    process: subprocess.Popen[str]
    address: str

    @property
    def tree(self) -> ProcessTree:
        return ProcessTree(psutil.Process(self.process.pid))

    def cpu_s(self) -> float:
        """CPU seconds of the process and its children so far."""
        return self.tree.cpu_s()

    def front_rss_mib(self) -> float:
        """Resident memory of the front process alone."""
        return float(self.tree.root.memory_info().rss / 2**20)


@contextmanager
def spinert_server(bundle: Path, config: str, work: Path) -> Iterator[Server]:
    """Run `spinert serve` and yield it once it is ready."""
    settings = work / "spinert.toml"
    settings.write_text(config)
    command = [sys.executable, "-m", "spinert", "serve", "--bundle", str(bundle)]
    command += ["--config", str(settings), "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "XDG_STATE_HOME": str(work / "state")}
    with running(command, environment=environment) as server:
        yield server


@contextmanager
def running(
    command: list[str], ready: str = READY, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """Start `command`, wait for a line on stderr that matches `ready`, stop it."""
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        drain = threading.Thread(target=_drain, args=(process,), daemon=True)
        try:
            address = _address(process, re.compile(ready))
            drain.start()
            yield Server(process, address)
        finally:
            process.send_signal(signal.SIGTERM)
            code = _ended(process)
            if drain.is_alive():
                drain.join()  # what it reads is closed next
        if code not in (0, -signal.SIGTERM):
            raise RuntimeError(f"{command} ended with {code}")


def _ended(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _drain(process: subprocess.Popen[str]) -> None:
    if process.stderr is not None:
        for _ in process.stderr:
            pass


def _address(process: subprocess.Popen[str], ready: re.Pattern[str]) -> str:
    lines = []
    for line in process.stderr or ():
        lines.append(line)
        if found := ready.search(line):
            return found.group(1)
    raise RuntimeError("the server ended before it was ready:\n" + "".join(lines[-20:]))


def machine() -> dict[str, Any]:
    """Describe this machine as the reports of `spinert bench` do."""
    return machine_from_host()


def elapsed_ms(work: Callable[[], Any]) -> float:
    """Return how long `work` takes on the clock."""
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started)


def write_json(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of `make bench` that is a program of its own, too."""

    name: str
    """Of the part in the results."""
    measure: Callable[[int], dict[str, Any]]
    """From the number of rounds."""
    table: Callable[[dict[str, Any], Path], str]
    """For the README, from all results and the file that holds them."""
    rounds: int
    """Where none are asked for."""

    @property
    def marks(self) -> tuple[str, str]:
        """Where the table stands in the README."""
        written = f"<!-- {self.name}: written by bench_{self.name}.py --readme -->"
        return written, f"<!-- end of {self.name} -->"

    def main(self, about: str | None) -> None:
        """Measure, write the results, and renew the README's table if asked to."""
        parser = argparse.ArgumentParser(description=about)
        parser.add_argument("--output", type=Path, required=True)
        parser.add_argument("--rounds", type=int, default=self.rounds)
        parser.add_argument("--readme", action="store_true", help="renew its table")
        arguments = parser.parse_args()
        found = self.measure(arguments.rounds)
        results = {"date": str(date.today()), "machine": machine(), self.name: found}
        write_json(arguments.output, results)
        written = self.table(results, arguments.output)
        if arguments.readme:
            page = HERE / "README.md"
            page.write_text(between_marks(page.read_text(), self.marks, written))
        print(written)


def between_marks(page: str, marks: tuple[str, str], content: str) -> str:
    """Return a page with other content between two marks."""
    start, end = marks
    before, _, rest = page.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n{content}\n{end}{after}"


def figures_table(
    results: dict[str, Any], source: Path, rows: Sequence[tuple[str, str, str]]
) -> str:
    """Return rows of (what, figure, target), and where they were measured."""
    made = results["machine"]
    gpus = ", ".join(made.get("gpus", ())) or "no GPU"
    runs = runs_text(results)
    lines = [
        f"{results['date']}, {made['cpu']}, {made['cores']} cores, {gpus}, "
        f"ONNX Runtime {made['packages']['onnxruntime']}; "
        f"all figures in `{source.name}`.",
        *([runs] if runs else []),
        "",
        "| what | measured: median (smallest-largest) | target |",
        "|---|---|---|",
        *(f"| {what} | {figure} | {target} |" for what, figure, target in rows),
    ]
    return "\n".join(lines)


def renew_readme(
    marks: tuple[str, str],
    results: dict[str, Any],
    source: Path,
    rows: Sequence[tuple[str, str, str]],
    pages: Sequence[Path] = (HERE / "README.md",),
) -> None:
    """Write rows of (what, figure, target) between two marks of each page."""
    content = figures_table(results, source, rows)
    for page in pages:
        page.write_text(between_marks(page.read_text(), marks, content))
