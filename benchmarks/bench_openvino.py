"""OpenVINO beside ONNX Runtime: each network alone, alternating, and the gate.

OpenVINO computes in float32 and, where the processor has it, in bfloat16; every side
first runs the golden set as a server would.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

from harness import HERE, between_marks, machine, ratio, write_json
from rich.console import Console
from run_rows import spread

from spinert.runtime.backends import Arrays, Backend
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.config import BackendSettings, Settings
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.engine.opening import opened_backend
from spinert.runtime.engine.warming import typical_tensor
from spinert.runtime.errors import BackendUnavailable
from spinert.runtime.gate.running import run_gate

SIDES = {
    "onnxruntime fp32": BackendSettings(),
    "openvino fp32": BackendSettings(name="openvino"),
    "openvino bf16": BackendSettings(name="openvino", precision="bf16"),
}
BASE = "onnxruntime fp32"
MARKS = (
    "<!-- openvino: written by bench_openvino.py --readme -->",
    "<!-- end of openvino -->",
)
TARGETS = {"openvino bf16": ">= 1.5"}
"""On processors with AMX."""


def measure(folder: Path, rounds: int = 7) -> dict[str, Any]:
    """Return, by side and network, its speed over ONNX Runtime's; and what it cannot.

    A ratio of 2 means half the time.
    """
    bundle = load_bundle(folder)
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        opened: dict[str, Backend] = {}
        for side, backend in SIDES.items():
            settings = Settings(backend=backend)
            try:
                opened[side] = stack.enter_context(opened_backend(bundle, settings))
            except BackendUnavailable as error:
                found[side] = {"unavailable": error.message}
                continue
            report = run_gate(bundle, opened[side], (1, 2, 3, 4), lambda *_: None)
            found[side] = {"gate": report.failure or "passed", "networks": {}}
        for role in sorted(bundle.spec.networks):
            for side, timed in _speeds(bundle, opened, role, rounds).items():
                found[side]["networks"][role] = timed
    return {"bundle": bundle.spec.name, "sides": found}


def _speeds(
    bundle: LoadedBundle, opened: Mapping[str, Backend], role: str, rounds: int
) -> dict[str, Any]:
    stated = bundle.spec.networks[role].input
    inputs = batch_inputs(stated, [typical_tensor(stated)])
    times: dict[str, list[float]] = {side: [] for side in opened}
    for number in range(rounds + 1):
        for side, backend in opened.items():
            seconds = _seconds(backend, role, inputs)
            if number:  # the first of each shape prepares
                times[side].append(seconds)
    return {
        side: {
            "ms": [round(1000 * s, 2) for s in times[side]],
            "speed_over_onnxruntime": ratio(times[BASE], times[side]).as_json(),
        }
        for side in opened
    }


def _seconds(backend: Backend, role: str, inputs: Arrays, runs: int = 5) -> float:
    start = time.perf_counter()
    for _ in range(runs):
        backend.run(role, inputs)
    return (time.perf_counter() - start) / runs


def table(results: Mapping[str, Any], source: Path) -> str:
    """Return the README's table: what each side is faster by, and with what."""
    made = results["machine"]
    versions = made["packages"]
    openvino = versions.get("openvino") or "of a version that was not recorded"
    sides = {name: side for name, side in results["sides"].items() if name != BASE}
    roles = sorted({r for side in sides.values() for r in side.get("networks", ())})
    columns = [f"{role}: speed over ONNX Runtime" for role in roles]
    lines = [
        f"{results['date']}, {made['cpu']}, {made['cores']} cores, ONNX Runtime "
        f"{versions['onnxruntime']}, OpenVINO {openvino}; all figures in "
        f"`{source.name}`.",
        "",
        f"| {' | '.join(['side', 'gate', *columns, 'target, CPUs with AMX'])} |",
        "|---" * (3 + len(roles)) + "|",
    ]
    for name, side in sides.items():
        speeds = [
            spread(side["networks"][role]["speed_over_onnxruntime"])
            if "networks" in side
            else ""
            for role in roles
        ]
        gate = side.get("gate") or f"unavailable: {side['unavailable']}"
        cells = (name, gate, *speeds, TARGETS.get(name, ""))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument(
        "--output", type=Path, default=HERE / "results" / "openvino.json"
    )
    parser.add_argument("--readme", action="store_true", help="renew its table")
    arguments = parser.parse_args()
    found = measure(arguments.bundle)
    found |= {"date": str(date.today()), "machine": machine()}
    write_json(arguments.output, found)
    if arguments.readme:
        page = HERE / "README.md"
        written = table(found, arguments.output)
        page.write_text(between_marks(page.read_text(), MARKS, written))
    Console().print_json(data=found)


if __name__ == "__main__":
    main()
