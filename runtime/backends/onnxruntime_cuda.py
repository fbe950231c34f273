"""ONNX Runtime on an NVIDIA GPU: where no TensorRT runs, and to compare with it."""

from __future__ import annotations

import logging
import re
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy.typing as npt

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays, BackendOptions, Capabilities
from spinert.runtime.backends.cuda_libraries import cudnn_version, load_libraries
from spinert.runtime.backends.forms import EVERY_STANDARD_OPERATOR
from spinert.runtime.backends.ort_session import checked_session, session_options
from spinert.runtime.compiled.gpu import Gpu, gpu_of_this_machine
from spinert.runtime.device.errors import CODES_BY_TEXT, OUT_OF_MEMORY, CudaFailure
from spinert.runtime.device.guard import Guard
from spinert.runtime.errors import (
    BackendError,
    BackendUnavailable,
    Reason,
    SpinertError,
)

__all__ = ["CudaBackend"]

logger = logging.getLogger(__name__)

_PROVIDER: Final = "CUDAExecutionProvider"
_DEFAULT_PRECISION: Final = "fp16"
_DEVICE: Final = "cuda"
_GPU_INDEX: Final = 0
_MAX_BINDINGS: Final = 64
"""Shapes of one network whose buffers stay on the GPU."""

_PROVIDER_OPTIONS: Final = MappingProxyType(
    {
        "device_id": str(_GPU_INDEX),
        # EXHAUSTIVE, the default, measures at each new shape, and its choice, and so
        # the rounding, could differ between the gate and the first frame.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Otherwise float32 graphs are multiplied with 10 bits of mantissa.
        "use_tf32": "0",
        # Memory for what is asked, not for the next power of two.
        "arena_extend_strategy": "kSameAsRequested",
    }
)
_HEAVY: Final = frozenset(
    (
        "Attention",
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "Einsum",
        "FusedConv",
        "Gemm",
        "GridSample",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "MatMul",
        "MaxPool",
        "Resize",
        "RoiAlign",
        "Softmax",
        "TopK",
    )
)
"""Operators on feature maps. On the host they would be a fallback in disguise;
arithmetic of shapes and indices belongs there, and the provider puts it there."""

_FAILURE: Final = re.compile(r"CUDA (?:failure|error) (\d+)")
_NO_MEMORY: Final = "Failed to allocate memory"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Binding:
    """Inputs of one shape, at fixed places on the GPU."""

    io: Any
    inputs: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Network:
    session: Any
    outputs: tuple[str, ...]
    bindings: OrderedDict[tuple[Any, ...], _Binding] = field(
        default_factory=OrderedDict
    )


class CudaBackend:
    """Runs each network in a session of its own on the first GPU.

    Inputs are copied into buffers that stay on the GPU, one set for each shape, and
    everything in between stays there: an output is the first that comes back to the
    host. Neither network takes anything from the other, so nothing has to pass between
    them. A node that ONNX Runtime would compute on the host is an error where it
    works on feature maps, and is logged otherwise.
    """

    def __init__(self, options: BackendOptions) -> None:
        """Find the package and the GPU; no network is loaded yet.

        Raises:
            BackendUnavailable: No GPU, or no ONNX Runtime with the CUDA provider.
        """
        try:
            self._ort = import_module("onnxruntime")
        except ImportError as error:
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                "ONNX Runtime is not installed; run: pip install 'spinert[cuda]'",
            ) from error
        if _PROVIDER not in self._ort.get_available_providers():
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                f"this ONNX Runtime has no {_PROVIDER}; install 'spinert[cuda]' in "
                "place of 'spinert[cpu]'",
            )
        self._gpu: Gpu = gpu_of_this_machine(_GPU_INDEX)
        self._precision = options.precision or _DEFAULT_PRECISION
        self._threads = options.threads or 1
        self._guard = Guard(_failure_from_exception, lambda: True)
        self._networks: dict[str, _Network] = {}
        load_libraries(self._ort)
        self._cudnn = cudnn_version()

    @property
    def capabilities(self) -> Capabilities:
        """Describe the installed ONNX Runtime and the GPU."""
        gpu = self._gpu
        return Capabilities(
            name="onnxruntime-cuda",
            version=self._ort.__version__,
            precision=self._precision,
            device=f"{gpu.name} (sm_{gpu.sm}), driver {gpu.driver}",
            threads=0,
            concurrent_networks=True,
            operators=(EVERY_STANDARD_OPERATOR,),
            variant=self._cudnn,
        )

    def load(self, role: str, onnx: Path, network: pb.Network) -> None:
        """Open a session on the GPU.

        Raises:
            BackendUnavailable: The file cannot be loaded or is another network, or
                ONNX Runtime would run it on the host.
        """
        options = session_options(self._ort, self._threads)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        session = checked_session(
            self._ort,
            role,
            onnx,
            network,
            options,
            [(_PROVIDER, dict(_PROVIDER_OPTIONS))],
        )
        _refuse_host(self._ort, role, session)
        outputs = tuple(output.name for output in session.get_outputs())
        self._networks[role] = _Network(session=session, outputs=outputs)

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one batch; see the Protocol.

        Raises:
            BackendError: The network is not loaded, or failed.
            DeviceLost: The GPU died, now or before.
        """
        if role not in self._networks:
            raise BackendError(
                Reason.NETWORK_FAILED, f"network {role!r} is not loaded; load it first"
            )
        try:
            return self._guard.call(self._ran, self._networks[role], inputs)
        except SpinertError:
            raise
        except Exception as error:
            logger.exception("onnxruntime failed on network %s", role)
            raise BackendError(
                Reason.NETWORK_FAILED,
                f"network {role!r} failed; run `spinert verify` on the bundle",
            ) from error

    def close(self) -> None:
        """Drop the buffers, then the sessions."""
        for network in self._networks.values():
            network.bindings.clear()
        self._networks.clear()

    def _ran(self, network: _Network, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        binding = self._binding(network, inputs)
        for name, value in binding.inputs.items():
            value.update_inplace(inputs[name])
        network.session.run_with_iobinding(binding.io)
        arrays = binding.io.copy_outputs_to_cpu()
        return dict(zip(network.outputs, arrays, strict=True))

    def _binding(self, network: _Network, inputs: Arrays) -> _Binding:
        key = tuple(
            (name, array.dtype.str, array.shape)
            for name, array in sorted(inputs.items())
        )
        if key in network.bindings:
            network.bindings.move_to_end(key)
            return network.bindings[key]
        while len(network.bindings) >= _MAX_BINDINGS:
            network.bindings.popitem(last=False)
        made = _bound(self._ort, network, inputs)
        network.bindings[key] = made
        return made


def _bound(ort: Any, network: _Network, inputs: Arrays) -> _Binding:
    io_binding = network.session.io_binding()
    values = {
        name: ort.OrtValue.ortvalue_from_shape_and_type(
            array.shape, array.dtype, _DEVICE, _GPU_INDEX
        )
        for name, array in inputs.items()
    }
    for name, value in values.items():
        io_binding.bind_ortvalue_input(name, value)
    for name in network.outputs:
        # ONNX Runtime takes new memory for it in every run.
        io_binding.bind_output(name, "cpu")
    return _Binding(io=io_binding, inputs=values)


def _refuse_host(ort: Any, role: str, session: Any) -> None:
    """Do nothing if the network's work is done on the GPU.

    Raises:
        BackendUnavailable: The provider could not be set up, or cannot run a node.
    """
    if _PROVIDER not in session.get_providers():
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"ONNX Runtime {ort.__version__} cannot use the GPU: CUDA, cuDNN or the "
            "driver is missing or too old; the log names the library",
        )
    on_host = Counter(
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != _PROVIDER
        for node in part.get_nodes()
    )
    if heavy := sorted(_HEAVY & on_host.keys()):
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"ONNX Runtime {ort.__version__} would run {', '.join(heavy)} of network "
            f"{role!r} on the host; configure another precision or backend",
        )
    if on_host:
        named = ", ".join(f"{count} {op}" for op, count in sorted(on_host.items()))
        logger.info("network %s: on the host run %s", role, named)


def _failure_from_exception(error: Exception) -> CudaFailure | None:
    """Read the CUDA error in what ONNX Runtime raised; None: it is none."""
    said = str(error)
    if _NO_MEMORY in said:
        return CudaFailure(call="ONNX Runtime", code=OUT_OF_MEMORY, text=_NO_MEMORY)
    if found := _FAILURE.search(said):
        code = int(found[1])
        return CudaFailure(call="ONNX Runtime", code=code, text=found[0])
    for text, code in CODES_BY_TEXT.items():
        if f"CUDA error: {text}" in said:
            return CudaFailure(call="ONNX Runtime", code=code, text=text)
    return None
