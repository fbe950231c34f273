"""What every benchmark shares: processes, CPU time, ratios, the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent


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

    def tree(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds of the process and its children so far."""
        return sum(sum(p.cpu_times()[:2]) for p in self.tree())

    def front_rss_mib(self) -> float:
        """Resident memory of the front process alone."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 2**20)


@contextmanager
def spinert_server(bundle: Path, config: str, work: Path) -> Iterator[Server]:
    """Run `spinert serve` and yield it once it is ready."""
    settings = work / "spinert.toml"
    settings.write_text(config)
    command = [sys.executable, "-m", "spinert", "serve", "--bundle", str(bundle)]
    command += ["--config", str(settings), "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "XDG_STATE_HOME": str(work / "state")}
    with running(
        command, r'"event": ?"ready".*"address": ?"([^"]+)"', environment
    ) as s:
        yield s


@contextmanager
def running(
    command: list[str], ready: str, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """Start `command`, wait for a line on stderr that matches `ready`, stop it."""
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        address = _address(process, re.compile(ready))
        drain = threading.Thread(target=_drain, args=(process,), daemon=True)
        drain.start()
        yield Server(process, address)
    finally:
        process.send_signal(signal.SIGTERM)
        if process.wait(timeout=60) not in (0, -signal.SIGTERM):
            raise RuntimeError(f"{command} ended with {process.returncode}")


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
    """Describe this machine well enough to compare results of the same kind."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    packages = ("spinert", "numpy", "grpcio", "protobuf", "onnxruntime", "pillow")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "load_average": [round(x, 2) for x in os.getloadavg()],
    }


def write_json(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n")


def renew_readme(
    marks: tuple[str, str],
    results: dict[str, Any],
    source: Path,
    rows: Sequence[tuple[str, str, str]],
) -> None:
    """Write rows of (what, figure, target) between two marks of README.md."""
    made = results["machine"]
    lines = [
        f"{results['date']}, {made['cpu']}, {made['cores']} cores, no GPU, "
        f"ONNX Runtime {made['packages']['onnxruntime']}; "
        f"all figures in `{source.name}`.",
        "",
        "| what | measured: median (smallest-largest) | target |",
        "|---|---|---|",
        *(f"| {what} | {figure} | {target} |" for what, figure, target in rows),
    ]
    page = HERE / "README.md"
    start, end = marks
    before, _, rest = page.read_text().partition(start)
    _, _, after = rest.partition(end)
    text = "\n".join(lines)
    page.write_text(f"{before}{start}\n{text}\n{end}{after}")
