"""`make gpu-bench`: what serves on this GPU against PyTorch on the same GPU.

TensorRT, TensorRT-RTX or ONNX Runtime's CUDA provider, whichever is to be had first,
in FP16, against eager PyTorch and torch.compile with FP16 weights: each network, both
together, and whole frames. Same weights, same golden frames, from host memory to host
memory; rounds alternate, and each pair of neighbours gives one ratio. See
benchmarks/gpu/README.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from gpu_frames import EngineFrames, PyTorchFrames, golden_frames, opened_engine
from gpu_sides import PyTorch, Served, Side, networks_from_recipe
from gpu_work import compared, frame_work, network_work
from harness import HERE, write_json
from rich.console import Console
from rich.table import Table

from spinert.runtime import backends
from spinert.runtime.backends import Backend, BackendOptions
from spinert.runtime.backends.precision import precision_text
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.compiled.gpu import gpu_of_this_machine
from spinert.runtime.compiled.settings import EnginesSettings
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.errors import SpinertError
from spinert.runtime.gate.golden_set import golden_cases

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
PYTORCH = {"eager": "", "compiled": COMPILE_MODE}
BOTH = "classifier+detector"
FRAMES = "frames"


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


def about(backend: Backend, device: str) -> dict[str, Any]:
    """Say what was measured, in all the versions that matter."""
    told = backend.capabilities
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    facts: dict[str, Any] = {
        "backend": told.name,
        "backend_version": told.version,
        "precision": told.precision,
        "precision_text": precision_text(told.name, told.precision),
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


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, required=True, help="that made it")
    parser.add_argument("--name", help="of the file; by default that of the GPU")
    parser.add_argument("--backend", choices=sorted(backends.BACKENDS))
    parser.add_argument("--precision", default="fp16", choices=["fp16", "fp32"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--no-compile", action="store_true", help="eager alone")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cache", type=Path, help="of engines")
    parser.add_argument("--device", default="cuda", help="cpu: to try this out")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    return parser


def result_path(arguments: argparse.Namespace, facts: Mapping[str, Any]) -> Path:
    """Return the file of the results, named after the GPU: gpu-nvidia-h200.json."""
    name = arguments.name or facts.get("gpu", "none")
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return Path(arguments.output, f"gpu-{slug}.json")


def main() -> None:
    arguments = parser().parse_args()
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
    with closing(backend):
        facts = about(backend, arguments.device)
        output = result_path(arguments, facts)
        results = {
            "date": str(date.today()),
            "bundle": bundle.spec.name,
            "refused": refused,
            **facts,
            "measured": {},
        }
        for what, size, found in measured(backend, bundle, arguments):
            results["measured"].setdefault(what, {})[str(size)] = found
            write_json(output, results)
    console.print(table_of(results))
    console.print(f"written to {output}")


def measured(
    backend: Backend, bundle: LoadedBundle, arguments: argparse.Namespace
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield (what, size of batch, result): each network, both together, frames."""
    networks: dict[str, Side] = {"ours": Served(backend)}
    graphs = networks_from_recipe(arguments.recipe)
    modes = {"eager": ""} if arguments.no_compile else PYTORCH
    for name, mode in modes.items():
        networks[name] = PyTorch(graphs, arguments.device, mode, arguments.precision)
    cases = golden_cases(bundle, bundle.spec.golden.frames)
    golden = golden_frames(bundle, cases)
    with (
        opened_engine(bundle, backend, max(arguments.batch)) as engine,
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
    ):
        frames: dict[str, Any] = {
            name: PyTorchFrames(bundle, side, pool)
            for name, side in networks.items()
            if name != "ours"
        }
        frames["ours"] = EngineFrames(engine)
        for what in (*sorted(bundle.spec.networks), BOTH, FRAMES):
            for size in arguments.batch:
                Console(stderr=True).log(f"{what}, batches of {size}")
                if what == FRAMES:
                    found = compared(frames, frame_work(golden, size), arguments.rounds)
                else:
                    work = network_work(cases, bundle, what, size)
                    found = compared(networks, work, arguments.rounds)
                yield what, size, found


def table_of(results: Mapping[str, Any]) -> Table:
    """Return every ratio, ours in milliseconds beside it."""
    title = f"{results.get('gpu', 'CPU')}, {results['backend']}, "
    table = Table(title=title + results["precision_text"])
    for column in ("network", "batch", "ms", "eager / ours", "compiled / ours"):
        table.add_column(column)
    for row in rows(results):
        table.add_row(*row)
    return table


if __name__ == "__main__":
    torch.backends.cudnn.benchmark = True
    main()
