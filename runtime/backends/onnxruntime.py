"""ONNX Runtime on the CPU: the embedded default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays, BackendOptions, Capabilities
from spinert.runtime.backends.failures import network_failures
from spinert.runtime.backends.forms import EVERY_STANDARD_OPERATOR
from spinert.runtime.backends.ort_profile import layer_times_from_events, traced_runs
from spinert.runtime.backends.ort_session import checked_session, session_options
from spinert.runtime.backends.profiled import LayerTime
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["OnnxRuntimeBackend"]

_NAME: Final = "onnxruntime"
_PROVIDER: Final = "CPUExecutionProvider"
_DEFAULT_PRECISION: Final = "fp32"


class OnnxRuntimeBackend:
    """Runs each network in a session of its own; sessions may run at once.

    Idle threads sleep instead of spinning: with two networks, a decoder and a front
    on the same cores, spinning takes from the others what it wins for one.

    FP16 graphs run, but this processor computes them in float32: no gain but memory.
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
        self._precision = options.precision or _DEFAULT_PRECISION
        self._threads = options.threads or len(os.sched_getaffinity(0))
        self._sessions: dict[str, Any] = {}
        self._files: dict[str, Path] = {}
        self._outputs: dict[str, list[str]] = {}

    @property
    def capabilities(self) -> Capabilities:
        """Describe the installed ONNX Runtime."""
        return Capabilities(
            name=_NAME,
            version=self._ort.__version__,
            precision=self._precision,
            device="cpu",
            threads=self._threads,
            concurrent_networks=True,
            operators=(EVERY_STANDARD_OPERATOR,),
        )

    def load(self, role: str, onnx: Path, network: pb.Network) -> None:
        """Open a session for `onnx` and compare it with what the bundle says.

        Raises:
            BackendUnavailable: Not one self-contained file, not loadable, or its
                inputs and outputs are not those of `network`.
        """
        session = checked_session(
            self._ort, role, onnx, network, self._options(), [_PROVIDER]
        )
        self._sessions[role] = session
        self._files[role] = onnx
        self._outputs[role] = [output.name for output in session.get_outputs()]

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one batch; see the Protocol.

        Raises:
            BackendError: The network is not loaded, or failed.
        """
        with network_failures(_NAME, role, self._sessions):
            names = self._outputs[role]
            values = self._sessions[role].run(names, dict(inputs))
        return dict(zip(names, values, strict=True))

    def layer_times(
        self, role: str, inputs: Arrays, runs: int
    ) -> tuple[LayerTime, ...]:
        """Measure the operators in a session of their own; see `ProfiledBackend`.

        Raises:
            BackendError: The network is not loaded, or failed.
        """
        with network_failures(_NAME, role, self._sessions):
            events = traced_runs(
                self._ort, self._files[role], self._options(), inputs, 1 + runs
            )
        return layer_times_from_events(events)

    def close(self) -> None:
        """Drop the sessions."""
        self._sessions.clear()
        self._files.clear()
        self._outputs.clear()

    def _options(self) -> Any:
        return session_options(self._ort, self._threads)
