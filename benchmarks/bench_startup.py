"""Start-up: ready with a certificate, import time, memory of the front."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import spinert_server
from tiny_bundle import write_tiny_bundle

SMALL = "[decode]\nworkers = 1\n"


def measure(bundle: Path, work: Path, rounds: int = 3) -> dict[str, Any]:
    """Time starts of the server and of the interpreter with and without the package."""
    first = _ready_s(bundle, work)
    again = [_ready_s(bundle, work) for _ in range(rounds)]
    # A server cannot start without a bundle: this one weighs nothing.
    tiny = write_tiny_bundle(work / "tiny", edge=32, channels=1)
    with spinert_server(tiny, SMALL, work) as server:
        rss = server.front_rss_mib()
    return {
        "ready_s_first_start_with_full_golden_set": round(first, 2),
        "ready_s_with_stored_pass": [round(value, 2) for value in again],
        "import_spinert_runtime_s": _import_s("spinert.runtime"),
        "import_spinert_runtime_client_s": _import_s("spinert.runtime.client"),
        "front_with_empty_networks_rss_mib": round(rss, 1),
    }


def _ready_s(bundle: Path, work: Path) -> float:
    start = time.perf_counter()
    with spinert_server(bundle, "", work):
        return time.perf_counter() - start


def _import_s(module: str, rounds: int = 7) -> float:
    """Median extra time of a process that imports `module` over one that does not."""
    extra = []
    for _ in range(rounds):
        bare, full = _python_s("pass"), _python_s(f"import {module}")
        extra.append(full - bare)
    return round(statistics.median(extra), 3)


def _python_s(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start
