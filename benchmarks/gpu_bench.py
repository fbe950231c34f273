"""`make gpu-bench`: what serves on this GPU against PyTorch on the same GPU.

TensorRT, TensorRT-RTX or ONNX Runtime's CUDA provider, whichever is to be had first,
in FP16, against eager PyTorch and torch.compile under autocast. Same weights, same
golden frames, from host memory to host memory; rounds alternate, and each pair of
neighbours gives one ratio. See benchmarks/gpu/README.md.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from gpu_sides import (
    Batch,
    PyTorch,
    Served,
    Side,
    networks_from_recipe,
    worst_difference,
)
from harness import HERE, ratio, write_json
from rich.console import Console
from rich.table import Table

from spinert.runtime import backends
from spinert.runtime.backends import Backend, BackendOptions
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.compiled.gpu import gpu_of_this_machine
from spinert.runtime.compiled.settings import EnginesSettings
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.errors import SpinertError
from spinert.runtime.gate.golden_set import GoldenCase, golden_cases

PREFERRED = ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda")
COMPILE_MODE = "reduce-overhead"
"""Inductor with CUDA graphs: torch.compile's own answer to launch overhead."""
PACKAGES = (
    "spinert",
    "torch",
    "onnxruntime-gpu",
    "onnxruntime",
    "tensorrt",
    "tensorrt-rtx",
    "pycuda",
    "cuda-bindings",
    "numpy",
)
LARGEST_DIFFERENCE = {"logits": 0.25, "scores": 0.05}
"""A side that is further from the FP32 answers is not running these networks."""
WARM_UP_RUNS = 6
ROUND_S = 0.5


def opened(
    bundle: LoadedBundle, names: Sequence[str], options: BackendOptions
) -> tuple[Backend, dict[str, str]]:
    """Return the first backend that runs here, and why those before it do not."""
    refused: dict[str, str] = {}
    for name in names:
        try:
            backend = backends.load(name, options)
        except SpinertError as error:
            refused[name] = error.message
            continue
        try:
            load_networks(backend, bundle)
        except SpinertError as error:
            backend.close()
            refused[name] = error.message
            continue
        return backend, refused
    reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
    raise SystemExit(f"no backend runs here: {reasons}")


def batch_of(
    cases: Mapping[str, list[GoldenCase]], bundle: LoadedBundle, roles: str, size: int
) -> tuple[Batch, dict[str, list[Any]]]:
    """Return inputs of golden frames for `roles`, and the FP32 answers to them."""
    batch, expected = {}, {}
    for role in roles.split("+"):
        first = cases[role][0].tensor.size
        same = [case for case in cases[role] if case.tensor.size == first]
        chosen = list(itertools.islice(itertools.cycle(same), size))
        stated = bundle.spec.networks[role].input
        batch[role] = batch_inputs(stated, [case.tensor for case in chosen])
        expected[role] = [case.reference for case in chosen]
    return batch, expected


def seconds_per_batch(side: Side, batch: Batch) -> float:
    """Run `side` for about ROUND_S; return the median of its batches."""
    times: list[float] = []
    end = time.perf_counter() + ROUND_S
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        side.run(batch)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compared(
    sides: Mapping[str, Side], batch: Batch, expected: Any, size: int, rounds: int
) -> dict[str, Any]:
    """Check every side's answers, then time them in turns."""
    found = {name: checked(name, side, batch, expected) for name, side in sides.items()}
    able = {name: side for name, side in sides.items() if "error" not in found[name]}
    times: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(rounds):
        for name, side in able.items():
            times[name].append(seconds_per_batch(side, batch))
    for name, seconds in times.items():
        found[name]["ms_per_batch"] = round(1000 * statistics.median(seconds), 3)
        found[name]["frames_per_s"] = round(size / statistics.median(seconds), 1)
        if name != "ours":
            # Above 1: ours is faster by that factor.
            found[f"{name}_over_ours"] = ratio(seconds, times["ours"]).as_json()
    return found


def checked(name: str, side: Side, batch: Batch, expected: Any) -> dict[str, Any]:
    """Warm a side up, and say how far its answers are from those in FP32.

    What PyTorch cannot do is written down; ours has to work, and to be right.
    """
    try:
        for _ in range(WARM_UP_RUNS):
            outputs = side.run(batch)
    except Exception as error:
        if name == "ours":
            raise
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    gaps = {
        f"{role}.{output}": round(gap, 6)
        for role, answers in outputs.items()
        for output, gap in worst_difference(expected[role], answers).items()
    }
    if name == "ours":
        require_close(gaps)
    return {"largest_difference_from_fp32": gaps}


def require_close(gaps: Mapping[str, float]) -> None:
    for name, gap in gaps.items():
        largest = LARGEST_DIFFERENCE[name.rpartition(".")[2]]
        if not gap <= largest:
            raise SystemExit(f"{name} is {gap} from the FP32 answer, over {largest}")


def about(backend: Backend, device: str) -> dict[str, Any]:
    """Say what was measured, in all the versions that matter."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    facts: dict[str, Any] = {
        "backend": backend.capabilities.name,
        "backend_version": backend.capabilities.version,
        "precision": backend.capabilities.precision,
        "python": platform.python_version(),
        "packages": packages,
        "torch_compile_mode": COMPILE_MODE,
    }
    if device == "cuda":
        gpu = gpu_of_this_machine()
        facts |= {
            "gpu": gpu.name,
            "sm": gpu.sm,
            "driver": gpu.driver,
            "cuda_of_torch": torch.version.cuda,
            "cudnn_of_torch": torch.backends.cudnn.version(),
            "clocks": clocks(),
        }
    return facts


def clocks() -> str:
    """Return clocks and power of the GPU as they are; they are never set here."""
    query = "clocks.sm,clocks.mem,power.draw,temperature.gpu"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        return subprocess.check_output(command, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def rows(results: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for what, sizes in results["measured"].items():
        for size, found in sizes.items():
            against = [
                f"{r['median']:.2f} ({r['min']:.2f}-{r['max']:.2f})"
                if (r := found.get(f"{side}_over_ours"))
                else found.get(side, {}).get("error", "")[:30]
                for side in ("eager", "compiled")
            ]
            yield what, size, f"{found['ours']['ms_per_batch']:.2f}", *against


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, required=True, help="that made it")
    parser.add_argument("--name", required=True, help="of the GPU, for the file")
    parser.add_argument("--backend", choices=sorted(backends.BACKENDS))
    parser.add_argument("--precision", default="fp16", choices=["fp16", "fp32"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--no-compile", action="store_true", help="eager alone")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cache", type=Path, help="of engines")
    parser.add_argument("--device", default="cuda", help="cpu: to try this out")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    return parser.parse_args()


def main() -> None:
    arguments = parsed_arguments()
    console = Console()
    bundle = load_bundle(arguments.bundle)
    options = BackendOptions(
        precision=arguments.precision,
        max_batch=max(arguments.batch),
        cache_dir=arguments.cache or EnginesSettings().directory(),
        progress=lambda stage, fraction: console.log(f"{stage} {fraction:.0%}"),
    )
    names = [arguments.backend] if arguments.backend else PREFERRED
    backend, refused = opened(bundle, names, options)
    output = arguments.output / f"gpu-{arguments.name}.json"
    with closing(backend):
        results = {
            "date": str(date.today()),
            "bundle": bundle.spec.name,
            "refused": refused,
            **about(backend, arguments.device),
            "measured": {},
        }
        measure(backend, bundle, arguments, results, output)
    table = Table(title=f"{results.get('gpu', 'CPU')}, {results['backend']}")
    for column in ("network", "batch", "ms", "eager / ours", "compiled / ours"):
        table.add_column(column)
    for row in rows(results):
        table.add_row(*row)
    console.print(table)
    console.print(f"written to {output}")


def measure(
    backend: Backend,
    bundle: LoadedBundle,
    arguments: argparse.Namespace,
    results: dict[str, Any],
    output: Path,
) -> None:
    """Measure every network and both together; `output` is written as it grows."""
    torch.backends.cudnn.benchmark = True
    networks = networks_from_recipe(arguments.recipe)
    sides: dict[str, Side] = {
        "ours": Served(backend),
        "eager": PyTorch(networks, arguments.device, ""),
    }
    if not arguments.no_compile:
        sides["compiled"] = PyTorch(networks, arguments.device, COMPILE_MODE)
    cases = golden_cases(bundle, bundle.spec.golden.frames)
    for what in (*sorted(bundle.spec.networks), "classifier+detector"):
        for size in arguments.batch:
            batch, expected = batch_of(cases, bundle, what, size)
            Console(stderr=True).log(f"{what}, batches of {size}")
            results["measured"].setdefault(what, {})[str(size)] = compared(
                sides, batch, expected, size, arguments.rounds
            )
            write_json(output, results)


if __name__ == "__main__":
    main()
