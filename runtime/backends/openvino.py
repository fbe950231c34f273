"""OpenVINO on the CPU: an optional extra, for processors that compute bfloat16."""

from __future__ import annotations

import functools
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays, BackendOptions, Capabilities
from spinert.runtime.backends.contract import Tensor, broken_contract
from spinert.runtime.backends.failures import network_failures
from spinert.runtime.backends.onnx_scan import refuse_external_data
from spinert.runtime.backends.profiled import LayerTime
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["OpenVinoBackend", "layer_times_from_nodes"]

logger = logging.getLogger(__name__)

_NAME: Final = "openvino"
_DEVICE: Final = "CPU"
_MAX_WHY: Final = 1000
_ARITHMETIC: Final[Mapping[str, str]] = MappingProxyType(
    {"fp32": "f32", "bf16": "bf16"}
)
"""By precision, what INFERENCE_PRECISION_HINT is told."""
_DTYPES: Final[Mapping[str, str]] = MappingProxyType(
    {"u8": "uint8", "f32": "float32", "i32": "int32", "i64": "int64"}
)


class OpenVinoBackend:
    """Runs each network as a compiled model of its own.

    OpenVINO picks bfloat16 by itself where the processor has it. Here the precision
    is told: "fp32" unless configured. With "bf16" the FP32 graph runs in bfloat16
    and has to pass the gate by the tolerances of the bundle's FP16 form.
    """

    def __init__(self, options: BackendOptions) -> None:
        """Find the package; no network is loaded yet.

        Raises:
            BackendUnavailable: The package is not installed, or it cannot compute in
                the configured precision on this processor.
        """
        try:
            import openvino
        except ImportError as error:
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                "OpenVINO is not installed; run: pip install 'spinert[openvino]'",
            ) from error
        self._precision = options.precision or "fp32"
        self._core = _core_of_this_process()
        self._tensor = openvino.Tensor
        able = self._core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
        _require_precision(self._precision, able)
        self._version = version("openvino")
        self._threads = options.threads or len(os.sched_getaffinity(0))
        self._requests: dict[str, Any] = {}
        self._files: dict[str, Path] = {}

    @property
    def capabilities(self) -> Capabilities:
        """Describe the installed OpenVINO."""
        return Capabilities(
            name=_NAME,
            version=self._version,
            precision=self._precision,
            device="cpu",
            threads=self._threads,
            concurrent_networks=True,
        )

    def load(self, role: str, onnx: Path, network: pb.Network) -> None:
        """Compile `onnx` and compare it with what the bundle says.

        Raises:
            BackendUnavailable: Not one self-contained file, not loadable, or its
                inputs and outputs are not those of `network`.
        """
        refuse_external_data(onnx)
        try:
            model = self._core.read_model(str(onnx))
            inputs, outputs = _tensors(model.inputs), _tensors(model.outputs)
            compiled = self._core.compile_model(model, _DEVICE, self._properties())
        except Exception as error:
            # As text, because logs keep only type and place of exceptions. No frame
            # has been seen yet: it can only tell of the file.
            logger.error("openvino cannot load network %s: %s", role, _briefly(error))
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                f"OpenVINO {self._version} cannot load network {role!r}; the log "
                "says why",
            ) from error
        if broken := broken_contract(network, inputs, outputs):
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                f"network {role!r} is not what the bundle describes: {broken[0]}",
            )
        self._requests[role] = compiled.create_infer_request()
        self._files[role] = onnx

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one batch; see the Protocol.

        Raises:
            BackendError: The network is not loaded, or failed.
        """
        with network_failures(_NAME, role, self._requests):
            request = self._requests[role]
            self._feed(request, inputs)
            values = request.infer()
        # The request computes its next batch into the same memory.
        return {port.any_name: np.array(value) for port, value in values.items()}

    def layer_times(
        self, role: str, inputs: Arrays, runs: int
    ) -> tuple[LayerTime, ...]:
        """Measure the operators in a model of their own; see `ProfiledBackend`.

        What was fused into a node counts with it.

        Raises:
            BackendError: The network is not loaded, or failed.
        """
        with network_failures(_NAME, role, self._requests):
            properties = {**self._properties(), "PERF_COUNT": True}
            model = self._core.compile_model(
                str(self._files[role]), _DEVICE, properties
            )
            request = model.create_infer_request()
            self._feed(request, inputs)
            request.infer()
            first = request.get_profiling_info()
            for _ in range(runs):
                request.infer()
            all_runs = request.get_profiling_info()
        return layer_times_from_nodes(first, all_runs, runs)

    def close(self) -> None:
        """Drop the compiled models."""
        self._requests.clear()
        self._files.clear()

    def _feed(self, request: Any, inputs: Arrays) -> None:
        for name, value in inputs.items():
            # Unlike `infer(inputs)`, this checks every shape against the graph.
            request.set_tensor(name, self._tensor(np.ascontiguousarray(value)))

    def _properties(self) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": _ARITHMETIC[self._precision],
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }


@functools.cache
def _core_of_this_process() -> Any:
    """Return the one `openvino.Core`, which is never let go.

    Its CPU plugin gives the thread that loads it a signal stack and unmaps that with
    the plugin. Of two cores that end in the order they were made, the thread keeps a
    stack that is gone, and its next signal, such as SIGTERM, is a crash.
    """
    import openvino

    return openvino.Core()


def _require_precision(precision: str, able: Iterable[str]) -> None:
    """Refuse what would be computed in another precision than is told."""
    if precision not in _ARITHMETIC:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"OpenVINO on a CPU computes {precision} in another precision: configure "
            'backend.precision = "fp32" or "bf16"',
        )
    if precision == "bf16" and "BF16" not in able:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            "this processor does not compute bfloat16: configure "
            'backend.precision = "fp32"',
        )


def _tensors(ports: Iterable[Any]) -> dict[str, Tensor]:
    return {
        port.any_name: Tensor(
            dtype=_DTYPES.get(
                port.element_type.get_type_name(), port.element_type.get_type_name()
            ),
            shape=tuple(
                size.get_length() if size.is_static else None
                for size in port.partial_shape
            ),
        )
        for port in ports
    }


def layer_times_from_nodes(
    first: Sequence[Any], all_runs: Sequence[Any], runs: int
) -> tuple[LayerTime, ...]:
    """Return the mean of each type of node over `runs` runs after the first.

    OpenVINO tells of every node the mean over all runs since the model was compiled,
    in whole microseconds; the first one, which makes kernels, has to be taken out.
    Nodes that were fused into others, or take less than that, are not executed.

    Args:
        first: openvino.ProfilingInfo of the nodes after the first run.
        all_runs: The same after `runs` more.
        runs: From 1.
    """
    counts: Counter[str] = Counter()
    spent_ms: defaultdict[str, float] = defaultdict(float)
    for before, after in zip(first, all_runs, strict=True):
        if after.status == after.Status.EXECUTED:
            spent = after.real_time * (1 + runs) - before.real_time
            counts[after.node_type] += 1
            spent_ms[after.node_type] += max(0.0, spent / timedelta(milliseconds=1))
    return tuple(
        LayerTime(name=name, count=counts[name], duration_ms=total / runs)
        for name, total in spent_ms.items()
    )


def _briefly(error: Exception) -> str:
    return " ".join(str(error).split())[:_MAX_WHY]
