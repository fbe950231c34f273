"""What a test on a real GPU does where something that it needs is not there.

It skips and says why; with SPINERT_REQUIRE_GPU set, as `make gpu-test` does, it fails.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

from spinert.runtime import backends
from spinert.runtime.backends import BackendOptions
from spinert.runtime.compiled.flavour import load_flavour
from spinert.runtime.compiled.gpu import Gpu
from spinert.runtime.errors import BackendUnavailable

REQUIRED = "SPINERT_REQUIRE_GPU"
MODULES = {
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
    "onnxruntime-cuda": "onnxruntime",
}
"""What each backend of a GPU is installed as."""


def missing(reason: str) -> NoReturn:
    """End the test that needs what is not there."""
    if REQUIRED in os.environ:
        pytest.fail(f"{reason} ({REQUIRED} is set)", pytrace=False)
    pytest.skip(reason)


def closed_backends(engines: Path) -> dict[str, str]:
    """Open every backend of a GPU once; return why some cannot be."""
    reasons: dict[str, str] = {}
    for name in MODULES:
        try:
            backends.load(name, BackendOptions(cache_dir=engines)).close()
        except BackendUnavailable as error:
            reasons[name] = error.message
    return reasons


def require_open(name: str, closed: dict[str, str], gpu: Gpu) -> None:
    """Do nothing if backend `name` is not among the `closed`.

    One that is may be left out where another runs: TensorRT-RTX compiles for some GPUs
    only, and TensorRT cannot be had everywhere. One that is installed for this GPU and
    yet does not open is missing, and so is the last of them.
    """
    if name not in closed:
        return
    if len(closed) == len(MODULES):
        missing("no backend runs on this GPU: " + "; ".join(closed.values()))
    if _is_installed_for(name, gpu):
        missing(closed[name])
    pytest.skip(closed[name])


def _is_installed_for(name: str, gpu: Gpu) -> bool:
    if find_spec(MODULES[name]) is None:
        return False
    return name != "tensorrt-rtx" or gpu.sm in load_flavour(name).capabilities()
