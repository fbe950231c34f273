"""Backends run networks; this is the whole contract and the table of them.

To add one: a module with a class that satisfies `Backend`, and a line in
`BACKENDS`. Nothing is imported before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from spinert.proto import bundle_pb2
from spinert.runtime.compiled.settings import EnginesSettings
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = [
    "BACKENDS",
    "Arrays",
    "Backend",
    "BackendOptions",
    "Capabilities",
    "CompiledBackend",
    "Progress",
    "load",
    "require_known",
]

Arrays = Mapping[str, npt.NDArray[Any]]

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction that is done."""


def _silent(_stage: str, _fraction: float) -> None:
    return


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendOptions:
    """What every backend is told."""

    threads: int = 0
    """Threads one network may use; 0: all cores of this machine."""
    precision: str = ""
    """Of the graphs to run: "fp32" or "fp16"; "bf16": the FP32 graph, computed in
    bfloat16; empty: the backend's own choice."""
    max_batch: int = 8
    """Largest batch that `run` will be given; what engines are built for."""
    cache_dir: Path | None = None
    """Where engines are kept; None: a backend without engines."""
    engines: EnginesSettings = field(default_factory=EnginesSettings)
    """How engines are compiled."""
    cuda_graphs: bool = True
    """Launch shapes that come back as one CUDA graph each, where the backend can."""
    device_preprocessing: bool = False
    """Make network inputs on the device; refused by a backend that cannot."""
    device_images_mib: int = 512
    """Memory of the frames on the device while inputs are made there."""
    progress: Progress = _silent
    """Told what is being built and how far it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a loaded backend is; part of the key of a stored golden pass."""

    name: str
    version: str
    precision: str
    device: str
    threads: int
    """Of one network: how sums are split, and so their rounding; 0: none to split."""
    concurrent_networks: bool
    """Different networks may run at once from different threads."""
    prepares_on_device: bool = False
    """It is a `spinert.runtime.backends.on_device.PreparingBackend`, set to be used."""
    concurrent_batches: int = 1
    """Batches of one network that may be in `run` at once, in a thread each."""
    operators: tuple[str, ...] = ()
    """What it runs of the ONNX operators that not every backend runs, or
    `forms.EVERY_STANDARD_OPERATOR`."""
    variant: str = ""
    """What else its answers may depend on, e.g. "CUDA graphs"."""


class Backend(Protocol):
    """Runs the networks of one bundle on one device.

    `run` may be called from `capabilities.concurrent_batches` threads per network at a
    time. Arrays returned belong to the caller.
    """

    @property
    def capabilities(self) -> Capabilities:
        """Describe this backend."""
        ...

    def load(self, role: str, onnx: Path, network: bundle_pb2.Network) -> None:
        """Make network `role` ready to run.

        Args:
            role: Its name in the bundle.
            onnx: The graph, one self-contained file.
            network: What the bundle says of it; the graph must agree.

        Raises:
            BackendUnavailable: The file cannot be loaded by this backend, or is
                not the network described.
        """
        ...

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one batch through network `role`.

        Args:
            role: A role that was loaded.
            inputs: Graph inputs by name, each with leading batch axis N: `image`
                uint8 (N,1,H,W) or float32 (N,C,H,W), `image_size` int32 (N,2).

        Returns:
            Graph outputs by name, each with leading batch axis N.

        Raises:
            BackendError: The network failed.
        """
        ...

    def close(self) -> None:
        """Release everything; calling twice is harmless."""
        ...


@runtime_checkable
class CompiledBackend(Protocol):
    """What a backend that runs engines offers besides `Backend`."""

    @property
    def engine_sha256s(self) -> Mapping[str, str]:
        """Return the SHA-256 of each loaded engine, by role.

        Two builds of one key may differ: kernels are chosen by their times.
        """
        ...

    @property
    def engine_directories(self) -> Mapping[str, Path]:
        """Return the folder of each loaded engine in the engine cache, by role.

        Its name is the digest of the engine's key. Certificates of the gate are kept
        in it, and go with it.
        """
        ...


BACKENDS = {
    "onnxruntime": "spinert.runtime.backends.onnxruntime:OnnxRuntimeBackend",
    "onnxruntime-cuda": "spinert.runtime.backends.onnxruntime_cuda:CudaBackend",
    "openvino": "spinert.runtime.backends.openvino:OpenVinoBackend",
    "tensorrt": "spinert.runtime.backends.tensorrt_opening:tensorrt_backend",
    "tensorrt-rtx": "spinert.runtime.backends.tensorrt_opening:tensorrt_rtx_backend",
    "fake": "spinert.runtime.backends.fake:FakeBackend",
}


def load(name: str, options: BackendOptions) -> Backend:
    """Construct the backend called `name`.

    Raises:
        BackendUnavailable: No such backend, or its package is not installed.
    """
    require_known(name)
    module, _, cls = BACKENDS[name].partition(":")
    backend: Backend = getattr(import_module(module), cls)(options)
    return backend


def require_known(name: str) -> None:
    """Do nothing if there is a backend called `name`, installed or not.

    Raises:
        BackendUnavailable: There is none.
    """
    if name not in BACKENDS:
        known = ", ".join(sorted(BACKENDS))
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"unknown backend {name!r}; choose one of: {known}",
        )
