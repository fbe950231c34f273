"""ONNX Runtime sessions, whatever the execution provider."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends.contract import Tensor, broken_contract
from spinert.runtime.backends.onnx_scan import refuse_external_data
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["checked_session", "session_options"]

logger = logging.getLogger(__name__)

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


def session_options(ort: Any, threads: int) -> Any:
    """Return options for reproducible results that leave other work its cores.

    Args:
        ort: The module onnxruntime.
        threads: Threads that one network may use, from 1.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    # A plan per input shape is kept for ever, and shapes vary with the images.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Failures arrive as exceptions and are logged here, once.
    options.log_severity_level = _LOG_FATAL_ONLY
    return options


def checked_session(
    ort: Any,
    role: str,
    onnx: Path,
    network: pb.Network,
    options: Any,
    providers: Sequence[Any],
) -> Any:
    """Open a session for `onnx` and compare it with what the bundle says.

    Raises:
        BackendUnavailable: Not one self-contained file, not loadable, or its inputs
            and outputs are not those of `network`.
    """
    refuse_external_data(onnx)
    try:
        session = ort.InferenceSession(
            str(onnx), sess_options=options, providers=providers
        )
    except Exception as error:
        # As text, because logs keep only type and place of exceptions. No frame has
        # been seen yet: it can only tell of the file.
        why = " ".join(str(error).split("\n", 1)[0].split())[:_MAX_WHY]
        logger.error("onnxruntime cannot load network %s: %s", role, why)
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"ONNX Runtime {ort.__version__} cannot load network {role!r}; the log "
            "says why",
        ) from error
    inputs, outputs = _tensors(session.get_inputs()), _tensors(session.get_outputs())
    if broken := broken_contract(network, inputs, outputs):
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"network {role!r} is not what the bundle describes: {broken[0]}",
        )
    return session


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
