"""The machine that was measured, described well enough to know one of its kind."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

__all__ = ["machine_from_host", "yardstick_ms"]

_PACKAGES: Final = (
    "spinert",
    "numpy",
    "grpcio",
    "protobuf",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "pycuda",
    "pillow",
    "imagecodecs",
    "uvloop",
    "hdrhistogram",
    "mlcommons-loadgen",
)
_GOVERNOR: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CPU_INFO: Final = Path("/proc/cpuinfo")
_YARDSTICK_EDGE: Final = 384


def machine_from_host() -> dict[str, Any]:
    """Return processor, cores, memory, versions and load; no name of the host."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "governor": _text(_GOVERNOR),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "gpus": _gpus(),
    }


def yardstick_ms() -> float:
    """Return the time of a fixed computation on one core.

    Taken between rounds, it tells a slow program from a slow machine.
    """
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**31, _YARDSTICK_EDGE * _YARDSTICK_EDGE)
    start = time.perf_counter()
    for _ in range(4):
        np.sort(keys)
    return 1000 * (time.perf_counter() - start)


def _cpu_model() -> str:
    for line in (_text(_CPU_INFO) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        # Virtual machines have no governor to read.
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    from spinert.bench.energy import gpu_names

    return gpu_names()
