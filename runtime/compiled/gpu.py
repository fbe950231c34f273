"""Which GPU is here, asked of the CUDA driver without creating a context.

Only the driver library is needed, which every machine with a working GPU has; so an
engine can be built, and its key be known, before anything else is set up.
"""

from __future__ import annotations

import ctypes
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["Gpu", "gpu_of_this_machine"]

_LIBRARY: Final = "libcuda.so.1"
_KERNEL_MODULE: Final = Path("/proc/driver/nvidia/version")
# CUdevice_attribute of cuda.h.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_NAME_BYTES: Final = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A GPU and what drives it."""

    name: str
    sm: str
    """Compute capability without its dot, e.g. "86"."""
    uuid: str
    driver: str
    """CUDA version of the driver, with its release where the system tells, e.g.
    "13.0 (580.65.06)"."""


def gpu_of_this_machine(
    index: int = 0, *, library: Any = None, kernel_module: Path = _KERNEL_MODULE
) -> Gpu:
    """Ask the driver for GPU `index` of those this process may see.

    Args:
        index: In the driver's order, after CUDA_VISIBLE_DEVICES.
        library: The driver's functions; by default those of libcuda.so.1.
        kernel_module: Where the system tells the driver's release.

    Raises:
        BackendUnavailable: No driver, no such GPU, or the driver fails.
    """
    try:
        cuda = library if library is not None else ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            "no CUDA driver on this machine: install NVIDIA's, or configure backend "
            '"onnxruntime"; engines for other machines are built by '
            "`spinert build --target tensorrt-rtx --sm ...`",
        ) from error
    _call(cuda, "cuInit", 0)
    device = ctypes.c_int()
    _call(cuda, "cuDeviceGet", ctypes.byref(device), index)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _call(cuda, "cuDeviceGetName", name, _NAME_BYTES, device)
    identity = (ctypes.c_ubyte * 16)()
    _call(cuda, "cuDeviceGetUuid", ctypes.byref(identity), device)
    version = ctypes.c_int()
    _call(cuda, "cuDriverGetVersion", ctypes.byref(version))
    major = _attribute(cuda, _CAPABILITY_MAJOR, device)
    minor = _attribute(cuda, _CAPABILITY_MINOR, device)
    return Gpu(
        name=name.value.decode(errors="replace"),
        sm=f"{major}{minor}",
        uuid=f"GPU-{uuid.UUID(bytes=bytes(identity))}",
        driver=_driver(version.value, kernel_module),
    )


def _attribute(cuda: Any, attribute: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _call(cuda, "cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
    return value.value


def _call(cuda: Any, function: str, *arguments: object) -> None:
    code = getattr(cuda, function)(*arguments)
    if code != 0:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"no usable GPU: {function} of the CUDA driver returned error {code}; "
            "check it with nvidia-smi",
        )


def _driver(version: int, kernel_module: Path) -> str:
    """Write 13000 as 13.0 and add the release that the kernel module states."""
    cuda = f"{version // 1000}.{version % 1000 // 10}"
    try:
        text = kernel_module.read_text()
    except OSError:
        return cuda
    release = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", text)
    return f"{cuda} ({release.group()})" if release else cuda
