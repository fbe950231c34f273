"""A frame through the two halves of a split network, with its suppression between.

Part of Faster R-CNN's graph is a suppression that iterates a fixed number of times.
Where that is not enough, the graph says so; greedy suppression on the host always
ends, so the frame is computed again from a graph before and a graph behind it.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

import numpy as np

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays
from spinert.runtime.backends.onnx_scan import refuse_external_data
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.engine.outputs import (
    FrameOutput,
    Unconverged,
    frame_outputs_from_batch,
)
from spinert.runtime.engine.prepare import NetworkTensor
from spinert.runtime.errors import BackendError, BackendUnavailable, Reason
from spinert.runtime.recompute.proposals import proposals_from_ranked

__all__ = ["Recomputation", "recomputation_from_bundle"]

logger = logging.getLogger(__name__)

_PROVIDER: Final = "CPUExecutionProvider"
_LOG_FATAL_ONLY: Final = 4


class Recomputation:
    """The split graphs of one network, in ONNX Runtime on the CPU.

    They are loaded with the first frame that needs them, which few ever do, and are
    used by one thread at a time.
    """

    precision: Final = "fp32"

    def __init__(self, bundle: LoadedBundle, role: str, threads: int = 0) -> None:
        """Load nothing yet.

        Args:
            bundle: Its network `role` has `split`.
            role: Which network.
            threads: That a graph may use; 0: all cores.
        """
        self._bundle = bundle
        self._role = role
        self._threads = threads
        self._lock = threading.Lock()
        self._sessions: tuple[Any, Any] | None = None

    @property
    def backend(self) -> str:
        """Name what computes, as in answers.

        Raises:
            BackendUnavailable: ONNX Runtime is not installed.
        """
        return f"onnxruntime {_onnxruntime().__version__}"

    def run(self, tensor: NetworkTensor) -> FrameOutput:
        """Compute one frame.

        Raises:
            BackendError: A graph failed or returned nothing that can be an answer.
            BackendUnavailable: A graph cannot be loaded.
        """
        with self._lock:
            if self._sessions is None:
                split = self._network.split
                self._sessions = (
                    self._opened(split.proposals),
                    self._opened(split.regions),
                )
            try:
                outputs = self._computed(tensor, *self._sessions)
            except Exception as error:
                logger.exception("recomputing network %s failed", self._role)
                raise self._failed() from error
        [output] = frame_outputs_from_batch(
            self._role, self._network, len(self._bundle.spec.classes), 1, outputs
        )
        if isinstance(output, Unconverged):
            raise self._failed()
        if isinstance(output, BackendError):
            raise output
        return output

    @property
    def _network(self) -> pb.Network:
        return self._bundle.spec.networks[self._role]

    def _computed(self, tensor: NetworkTensor, first: Any, second: Any) -> Arrays:
        inputs = batch_inputs(self._network.input, [tensor])
        levels = _ran(first, inputs)
        boxes, scores = levels.pop("boxes"), levels.pop("scores")
        proposals = proposals_from_ranked(boxes[0], scores[0], self._network.split)
        size = {"image_size": inputs["image_size"]}
        found = _ran(second, levels | size | {"proposals": proposals[None]})
        return _best(found, self._network.detection.candidates)

    def _opened(self, file: str) -> Any:
        ort = _onnxruntime()
        path = self._bundle.directory / file
        refuse_external_data(path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.use_deterministic_compute = True
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _LOG_FATAL_ONLY
        try:
            return ort.InferenceSession(
                str(path), sess_options=options, providers=[_PROVIDER]
            )
        except Exception as error:
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                f"ONNX Runtime {ort.__version__} cannot load {file}; export the "
                "bundle again",
            ) from error

    def _failed(self) -> BackendError:
        return BackendError(
            Reason.NETWORK_FAILED,
            f"network {self._role!r} failed on a frame that had to be recomputed; "
            "run `spinert verify` on the bundle",
        )


def recomputation_from_bundle(
    bundle: LoadedBundle, role: str, threads: int = 0
) -> Recomputation | None:
    """Return how network `role` is recomputed; None if its bundle does not say."""
    if not bundle.spec.networks[role].HasField("split"):
        return None
    return Recomputation(bundle, role, threads)


def _best(outputs: Arrays, count: int) -> Arrays:
    """Keep the candidates of highest score where the whole graph keeps only `count`."""
    if outputs["scores"].shape[1] <= count:
        return outputs
    order = np.argsort(-outputs["scores"][0], kind="stable")[:count]
    return {name: values[:, order] for name, values in outputs.items()}


def _ran(session: Any, inputs: Arrays) -> dict[str, Any]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            "ONNX Runtime, which recomputes frames, is not installed; "
            "run: pip install 'spinert[cpu]'",
        ) from error
    return onnxruntime
