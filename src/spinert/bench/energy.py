"""Energy of NVIDIA GPUs, by the counters of their driver (NVML).

Read through nvidia-ml-py where it is installed and finds a driver; elsewhere there
is nothing to tell.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

__all__ = ["EnergyMeter", "energy_meter", "gpu_names"]


@dataclass
class EnergyMeter:
    """What all GPUs of the machine drew while the block ran."""

    is_present: bool = False
    joules: float = 0.0
    seconds: float = 0.0

    def told(self, frames: int) -> dict[str, Any] | None:
        """Return JSON values for a report; None where no GPU tells its energy."""
        if not self.is_present or not frames or not self.seconds:
            return None
        return {
            "joules_per_frame": self.joules / frames,
            "mean_watts": self.joules / self.seconds,
            "frames": frames,
            "what": "all GPUs of the machine, idle draw included (NVML)",
        }


@contextmanager
def energy_meter() -> Iterator[EnergyMeter]:
    """Yield a meter that is complete when the block ends."""
    meter = EnergyMeter()
    with _nvml() as nvml:
        before = _total_joules(nvml)
        start = time.perf_counter()
        yield meter
        meter.seconds = time.perf_counter() - start
        after = _total_joules(nvml)
    if before is not None and after is not None:
        meter.is_present, meter.joules = True, after - before


def gpu_names() -> list[str]:
    """Return the names of the GPUs that NVML knows."""
    with _nvml() as nvml:
        if nvml is None:
            return []
        return [str(nvml.nvmlDeviceGetName(handle)) for handle in _handles(nvml)]


@contextmanager
def _nvml() -> Iterator[ModuleType | None]:
    """Yield the library, or None where it is absent or finds no driver."""
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _handles(nvml: Any) -> list[Any]:
    count = nvml.nvmlDeviceGetCount()
    return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]


def _total_joules(nvml: Any) -> float | None:
    """Return the energy since the driver was loaded; None: a GPU does not count it."""
    if nvml is None:
        return None
    try:
        spent = [
            nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
            for handle in _handles(nvml)
        ]
    except nvml.NVMLError:
        return None
    return float(sum(spent)) if spent else None
