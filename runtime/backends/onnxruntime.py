"""ONNX Runtime on the CPU: the embedded default."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays, BackendOptions, Capabilities
from spinert.runtime.backends.contract import (
    Tensor,
    broken_contract,
    refuse_precision,
)
from spinert.runtime.backends.onnx_scan import refuse_external_data
from spinert.runtime.errors import BackendError, BackendUnavailable, Reason

__all__ = ["OnnxRuntimeBackend"]

logger = logging.getLogger(__name__)

_PROVIDER: Final = "CPUExecutionProvider"
_DTYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tensor(uint8)": "uint8",
        "tensor(float)": "float32",
        "tensor(int32)": "int32",
        "tensor(int64)": "int64",
    }
)
_LOG_FATAL_ONLY: Final = 4
_MAX_WHY: Final = 300
_PRECISION: Final = "fp32"


class OnnxRuntimeBackend:
    """Runs each network in a session of its own; sessions may run at once.

    Idle threads sleep instead of spinning: with two networks, a decoder and a front
    on the same cores, spinning takes from the others what it wins for one.
    """

    def __init__(self, options: BackendOptions) -> None:
        """Find the package; no network is loaded yet.

        Raises:
            BackendUnavailable: The package is not installed, or has no CPU provider.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                "ONNX Runtime is not installed; run: pip install 'spinert[cpu]'",
            ) from error
        if _PROVIDER not in onnxruntime.get_available_providers():
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                f"this ONNX Runtime has no {_PROVIDER}; install 'spinert[cpu]'",
            )
        self._ort = onnxruntime
        self._threads = options.threads or len(os.sched_getaffinity(0))
        self._sessions: dict[str, Any] = {}
        self._outputs: dict[str, list[str]] = {}

    @property
    def capabilities(self) -> Capabilities:
        """Describe the installed ONNX Runtime."""
        return Capabilities(
            name="onnxruntime",
            version=self._ort.__version__,
            precision=_PRECISION,
            device="cpu",
            threads=self._threads,
            concurrent_networks=True,
        )

    def load(self, role: str, onnx: Path, network: pb.Network) -> None:
        """Open a session for `onnx` and compare it with what the bundle says.

        Raises:
            BackendUnavailable: Not fp32, not one self-contained file, not loadable,
                or its inputs and outputs are not those of `network`.
        """
        refuse_precision(role, network, _PRECISION)
        refuse_external_data(onnx)
        try:
            session = self._ort.InferenceSession(
                str(onnx), sess_options=self._options(), providers=[_PROVIDER]
            )
        except Exception as error:
            # As text, because logs keep only type and place of exceptions. No frame
            # has been seen yet: it can only tell of the file.
            why = " ".join(str(error).split("\n", 1)[0].split())[:_MAX_WHY]
            logger.error("onnxruntime cannot load network %s: %s", role, why)
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                f"ONNX Runtime {self._ort.__version__} cannot load network {role!r}; "
                "the log says why",
            ) from error
        inputs = _tensors(session.get_inputs())
        outputs = _tensors(session.get_outputs())
        if broken := broken_contract(network, inputs, outputs):
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                f"network {role!r} is not what the bundle describes: {broken[0]}",
            )
        self._sessions[role] = session
        self._outputs[role] = list(outputs)

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one batch; see the Protocol.

        Raises:
            BackendError: The network is not loaded, or failed.
        """
        if role not in self._sessions:
            raise BackendError(
                Reason.NETWORK_FAILED, f"network {role!r} is not loaded; load it first"
            )
        names = self._outputs[role]
        try:
            values = self._sessions[role].run(names, dict(inputs))
        except Exception as error:
            logger.exception("onnxruntime failed on network %s", role)
            raise BackendError(
                Reason.NETWORK_FAILED,
                f"network {role!r} failed; run `spinert verify` on the bundle",
            ) from error
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Drop the sessions."""
        self._sessions.clear()
        self._outputs.clear()

    def _options(self) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = self._ort.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        # A plan per input shape is kept for ever, and shapes vary with the images.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # Failures arrive as exceptions and are logged here, once.
        options.log_severity_level = _LOG_FATAL_ONLY
        return options


def _tensors(values: Sequence[Any]) -> dict[str, Tensor]:
    return {
        value.name: Tensor(
            dtype=_DTYPES.get(value.type, value.type),
            shape=tuple(
                size if isinstance(size, int) else None for size in value.shape
            ),
        )
        for value in values
    }
