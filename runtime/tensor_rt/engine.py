"""A loaded engine and its execution contexts: the TensorRT calls, and their errors.

The same calls serve `tensorrt` 10.1 and later, 11 and `tensorrt_rtx`. All need the
device's context to be current in the calling thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinert.runtime.compiled.diagnostics import api_logger
from spinert.runtime.compiled.flavour import Flavour
from spinert.runtime.errors import BackendError, BackendUnavailable, Reason
from spinert.runtime.tensor_rt.jit_cache import JitCache, opened_jit_cache
from spinert.runtime.tensor_rt.signature import (
    Shape,
    Signature,
    signature_from_engine,
)

__all__ = ["ExecutionContext", "LoadedEngine", "engine_from_plan", "refit"]


@dataclass(kw_only=True, slots=True)
class LoadedEngine:
    """A network on the device; it owns its weights there until it is closed."""

    role: str
    flavour: Flavour
    signature: Signature
    engine: Any
    """tensorrt.ICudaEngine."""
    keeper: tuple[Any, ...]
    """What must outlive the engine: its runtime and logger."""
    jit: JitCache | None
    """Kernels that TensorRT-RTX made on this machine; None for TensorRT."""

    @property
    def is_one_size(self) -> bool:
        """Whether images come in one size, so that there are few shapes altogether."""
        sizes = {
            edges
            for profile in self.signature.profiles
            for edges in (profile["image"].minimum[2:], profile["image"].maximum[2:])
        }
        return len(sizes) == 1

    @property
    def scratch_bytes(self) -> int:
        """Device memory that a context needs while it runs, for any of its profiles."""
        return int(self.engine.device_memory_size_v2)

    def context(self, profile: int, scratch: int, stream: int) -> ExecutionContext:
        """Make a context for one profile; the stream may still be busy with it after.

        Args:
            profile: Index of the optimisation profile.
            scratch: Address of `scratch_bytes` of device memory. Contexts may share
                it as long as they never run at the same time.
            stream: Handle of the stream on which the context is prepared.

        Raises:
            BackendError: TensorRT cannot make it.
        """
        made = self._made()
        if made is None:
            raise self._error("make an execution context")
        made.set_device_memory(scratch, self.scratch_bytes)
        if not made.set_optimization_profile_async(profile, stream):
            raise self._error(f"select profile {profile}")
        return ExecutionContext(self.role, made, self.signature)

    def close(self) -> None:
        """Drop the weights, after all contexts; twice is harmless."""
        self.jit = None
        self.engine = None
        self.keeper = ()

    def _made(self) -> Any:
        api = self.flavour.api
        strategy = api.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.jit is None:
            return self.engine.create_execution_context(strategy)
        config = self.engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(strategy)
        config.set_runtime_cache(self.jit.cache)
        kernels = api.DynamicShapesKernelSpecializationStrategy
        # Never LAZY, the default: kernels exchanged in the background would change
        # results after the gate. EAGER compiles at each new shape; where images come
        # in many sizes, a frame would wait for it.
        config.dynamic_shapes_kernel_specialization_strategy = (
            kernels.EAGER if self.is_one_size else kernels.NONE
        )
        return self.engine.create_execution_context(config)

    def _error(self, what: str) -> BackendError:
        return BackendError(
            Reason.NETWORK_FAILED,
            f"{self.flavour} cannot {what} for network {self.role!r}; the log says why",
        )


class ExecutionContext:
    """One context: tensors at fixed addresses, shapes that are set, work to enqueue."""

    def __init__(self, role: str, context: Any, signature: Signature) -> None:
        """Own a tensorrt.IExecutionContext."""
        self._role = role
        self._context = context
        self._profiler: Any = None
        self._outputs = tuple(port.name for port in signature.outputs)

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Set where every tensor lies, for good.

        Raises:
            BackendError: TensorRT does not accept an address.
        """
        for name, address in addresses.items():
            self._require(
                self._context.set_tensor_address(name, address), f"bind {name!r}"
            )

    def set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        """Set the shapes of the inputs for what is enqueued next.

        Raises:
            BackendError: TensorRT does not accept a shape.
        """
        for name, shape in shapes.items():
            self._require(
                self._context.set_input_shape(name, shape), f"take {name!r} {shape}"
            )

    def output_shapes(self) -> dict[str, Shape]:
        """Return the shapes of the outputs that follow from those of the inputs.

        Raises:
            BackendError: They do not follow: an output's size depends on the data.
        """
        shapes = {
            name: tuple(int(size) for size in self._context.get_tensor_shape(name))
            for name in self._outputs
        }
        for name, shape in shapes.items():
            self._require(all(size >= 0 for size in shape), f"size {name!r}")
        return shapes

    def enqueue(self, stream: int) -> None:
        """Enqueue one run; `stream` is a CUstream handle.

        Raises:
            BackendError: It was not enqueued. Whether the device is dead has to be
                asked of the device.
        """
        self._require(self._context.execute_async_v3(stream), "run")

    def profile_with(self, profiler: Any) -> None:
        """Let `profiler`, a tensorrt.IProfiler, be told of runs from now on."""
        # TensorRT has but a pointer to it.
        self._profiler = profiler
        self._context.profiler = profiler
        # Not within `enqueue`, which would wait there for the device.
        self._context.enqueue_emits_profile = False

    def report(self) -> None:
        """Tell the profiler of the last run, which is over.

        Raises:
            BackendError: TensorRT cannot.
        """
        self._require(self._context.report_to_profiler(), "time the layers")

    def close(self) -> None:
        """Drop the context; nothing of it may be running. Twice is harmless."""
        self._context = None

    def _require(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise BackendError(
                Reason.NETWORK_FAILED,
                f"TensorRT cannot {what} in network {self._role!r}; the log says why",
            )


def engine_from_plan(
    flavour: Flavour, role: str, plan: bytes, jit_directory: Path
) -> LoadedEngine:
    """Load an engine onto the current device.

    Args:
        flavour: What it was compiled with, and runs it.
        role: The network's name, for messages.
        plan: The engine, from a place that is trusted: it is a program.
        jit_directory: Where TensorRT-RTX keeps the kernels it makes on this machine.

    Raises:
        BackendUnavailable: This GPU or this version of TensorRT cannot run it, or
            another user could have written the kernels in `jit_directory`.
    """
    logger = api_logger(flavour.api)
    runtime = flavour.api.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{flavour} cannot load the engine of network {role!r} on this GPU; the "
            "log says why; empty the engine cache and build again: spinert build",
        )
    return LoadedEngine(
        role=role,
        flavour=flavour,
        signature=signature_from_engine(engine),
        engine=engine,
        keeper=(runtime, logger),
        jit=opened_jit_cache(flavour, engine, jit_directory),
    )


def refit(loaded: LoadedEngine, onnx: Path, onnx_sha256: str) -> None:
    """Bring back the weights of an engine that was built without.

    Args:
        loaded: The engine.
        onnx: The graph it was compiled from, one self-contained file.
        onnx_sha256: Of that file, from the engine's key.

    Raises:
        BackendUnavailable: The graph is not the one it was compiled from.
    """
    content = _content(onnx)
    # Other weights of the same shapes would fit, and answer something else.
    if hashlib.sha256(content).hexdigest() != onnx_sha256:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{onnx.name} changed after the engine of {loaded.role!r} was found; "
            "start again",
        )
    api = loaded.flavour.api
    _, logger = loaded.keeper
    refitter = api.Refitter(loaded.engine, logger)
    parser = api.OnnxParserRefitter(refitter, logger)
    if not parser.refit_from_bytes(content) or not refitter.refit_cuda_engine():
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"the weights of {onnx.name} do not fit the engine of {loaded.role!r}; "
            "build it again without --strip-weights",
        )


def _content(onnx: Path) -> bytes:
    try:
        return onnx.read_bytes()
    except OSError as error:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{onnx.name} cannot be read: {error.strerror}; export the bundle again",
        ) from error
