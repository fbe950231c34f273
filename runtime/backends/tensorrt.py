"""TensorRT and TensorRT-RTX: compiled networks on an NVIDIA GPU.

PyCUDA has the memory, streams and events (spinert.runtime.device), the engine cache
the engines (spinert.runtime.compiled); spinert.runtime.tensor_rt runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays, BackendOptions, Capabilities
from spinert.runtime.backends.on_device import CountedImage, PlacedImage
from spinert.runtime.backends.onnx_scan import refuse_external_data
from spinert.runtime.backends.profiled import LayerTime
from spinert.runtime.compiled.flavour import Flavour
from spinert.runtime.compiled.obtaining import Obtained, Source
from spinert.runtime.device import Device
from spinert.runtime.device_input.preparing import (
    Preparing,
    opened_preparing,
    require_preparable,
)
from spinert.runtime.errors import (
    BackendError,
    BackendUnavailable,
    DeviceLost,
    Reason,
)
from spinert.runtime.image import Stored
from spinert.runtime.tensor_rt.engine import LoadedEngine, engine_from_plan, refit
from spinert.runtime.tensor_rt.jit_cache import JitCache
from spinert.runtime.tensor_rt.lifetime import nothing_kept_by_errors
from spinert.runtime.tensor_rt.runner import SLOTS, Runner

__all__ = ["DEFAULT_PRECISION", "Obtain", "TensorRtBackend"]

DEFAULT_PRECISION: Final = "fp16"
_MAX_GRAPHS: Final = 64
"""CUDA graphs of one network, over all batch sizes, image sizes and slots: all batch
sizes of a fixed canvas, or the sizes that come most with a shortest edge."""

Obtain = Callable[[Source], Obtained]
"""Returns the engine of a graph from the cache, building it where it is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Origin:
    """Where a loaded engine came from; the engine itself is on the device."""

    directory: Path
    sha256: str


class TensorRtBackend:
    """Runs each network on streams of its own, all on one device.

    The device belongs to the backend. After a fatal CUDA error every call raises
    `DeviceLost` at once; only a new process can use the GPU again.
    """

    def __init__(
        self,
        options: BackendOptions,
        *,
        flavour: Flavour,
        device: Device,
        obtain: Obtain,
    ) -> None:
        """Take over `device`; no network is loaded yet.

        Args:
            options: Of every backend.
            flavour: What compiled the engines, and runs them.
            device: Where they run; closed by `close`.
            obtain: Where engines come from.

        Raises:
            BackendUnavailable: Inputs are to be made on the device, and cannot.
        """
        self._precision = options.precision or DEFAULT_PRECISION
        self._captures = options.cuda_graphs and device.captures_graphs
        self._max_graphs = _MAX_GRAPHS if options.cuda_graphs else 0
        self._flavour = flavour
        self._device = device
        self._obtain = obtain
        self._jit: list[JitCache] = []
        self._runners: dict[str, Runner] = {}
        self._engines: dict[str, _Origin] = {}
        self._preparing: Preparing | None = None
        if options.device_preprocessing:
            try:
                with device.current(), nothing_kept_by_errors():
                    self._preparing = opened_preparing(device, options)
            except BaseException:
                device.close()
                raise

    @property
    def capabilities(self) -> Capabilities:
        """Describe TensorRT and the GPU."""
        gpu = self._device.gpu
        return Capabilities(
            name=self._flavour.product.name,
            version=self._flavour.version,
            precision=self._precision,
            device=f"{gpu.name} (sm_{gpu.sm}), driver {gpu.driver}",
            threads=0,
            concurrent_networks=True,
            concurrent_batches=SLOTS,
            operators=self._flavour.product.operators,
            variant=", ".join(self._variants()),
            prepares_on_device=self._preparing is not None,
        )

    @property
    def engine_directories(self) -> Mapping[str, Path]:
        """Return the folder of each loaded engine in the engine cache, by role."""
        return {role: engine.directory for role, engine in self._engines.items()}

    @property
    def engine_sha256s(self) -> Mapping[str, str]:
        """Return the SHA-256 of each loaded engine, by role."""
        return {role: engine.sha256 for role, engine in self._engines.items()}

    def load(self, role: str, onnx: Path, network: pb.Network) -> None:
        """Load the engine of `onnx`, building it first where the cache has none.

        Raises:
            BackendUnavailable: It cannot be built, loaded or given the memory it
                needs, or is not the network that the bundle describes.
            DeviceLost: The GPU died.
        """
        refuse_external_data(onnx)
        if self._preparing is not None:
            require_preparable(role, network.input)
        source = Source(
            role=role, onnx=onnx, precision=self._precision, network=network
        )
        # The builder and the engine use whatever context is current.
        with self._device.current(), nothing_kept_by_errors():
            self._load(source)

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one batch; see the Protocol.

        Raises:
            BackendError: The network is not loaded, or failed.
            DeviceLost: The GPU died, now or before.
        """
        return self._runner_of(role).run(inputs)

    def uploading(self, pixels: Stored) -> AbstractContextManager[CountedImage]:
        """Upload a frame and count its values; see `PreparingBackend`.

        Raises:
            BackendError: The device failed, or inputs are not made on it.
            DeviceLost: The GPU died, now or before.
        """
        if self._preparing is None:
            raise BackendError(
                Reason.NETWORK_FAILED,
                "inputs are not made on the device; set backend.device_preprocessing",
            )
        return self._preparing.uploads.uploading(pixels)

    def run_images(
        self, role: str, images: Sequence[PlacedImage], others: Arrays
    ) -> Arrays:
        """Run one batch of frames on the device; see `PreparingBackend`.

        Raises:
            BackendError: The network is not loaded, or failed.
            DeviceLost: The GPU died, now or before.
        """
        return self._runner_of(role).run_images(images, others)

    def input_of(self, role: str, images: Sequence[PlacedImage]) -> npt.NDArray[Any]:
        """Return the input that is made of `images`; see `PreparingBackend`.

        Raises:
            BackendError: The network is not loaded, or the device failed.
            DeviceLost: The GPU died, now or before.
        """
        return self._runner_of(role).input_of(images)

    def layer_times(
        self, role: str, inputs: Arrays, runs: int
    ) -> tuple[LayerTime, ...]:
        """Measure the layers as they were fused; see `ProfiledBackend`.

        Raises:
            BackendError: The network is not loaded, or cannot be profiled.
            DeviceLost: The GPU died, now or before.
        """
        return self._runner_of(role).layer_times(inputs, runs)

    def close(self) -> None:
        """Keep the kernels made here, free all memory, let go of the device."""
        runners, self._runners = self._runners, {}
        kernels, self._jit = self._jit, []
        with ExitStack() as stack:
            stack.callback(self._device.close)
            with suppress(DeviceLost):
                stack.enter_context(self._device.current())
            if self._preparing is not None:
                stack.callback(self._preparing.close)
                self._preparing = None
            for runner in runners.values():
                stack.callback(runner.close)
            with suppress(DeviceLost), self._device.current():
                for jit in kernels:
                    jit.save()
        self._engines.clear()

    def _variants(self) -> Iterator[str]:
        if self._captures:
            yield "CUDA graphs"
        if self._preparing is not None:
            yield "device preprocessing"

    def _runner_of(self, role: str) -> Runner:
        runner = self._runners.get(role)
        if runner is None:
            raise BackendError(
                Reason.NETWORK_FAILED, f"network {role!r} is not loaded; load it first"
            )
        return runner

    def _load(self, source: Source) -> None:
        role, obtained = source.role, self._obtain(source)
        stored = obtained.engine
        engine = engine_from_plan(self._flavour, role, stored.plan, stored.directory)
        if obtained.key.stripped:
            refit(engine, source.onnx, obtained.key.onnx_sha256)
        engine.signature.require(role, source.network)
        self._runners[role] = self._runner(engine)
        self._engines[role] = _Origin(directory=stored.directory, sha256=stored.sha256)
        if engine.jit:
            engine.jit.save()
            self._jit.append(engine.jit)

    def _runner(self, engine: LoadedEngine) -> Runner:
        try:
            kernels = self._preparing.kernels if self._preparing else None
            return Runner(self._device, engine, self._max_graphs, kernels)
        except BackendError as error:
            self._device.check()
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                f"network {engine.role!r} cannot be set up on the GPU: {error.message}",
            ) from error
