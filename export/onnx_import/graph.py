"""An imported network as the export stage handles every network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnxruntime

from spinert.export.onnx_import.running import Arrays, Runner
from spinert.export.preprocess import NetworkFrame
from spinert.proto import bundle_pb2 as pb

__all__ = ["ImportedGraph"]


@dataclass(frozen=True, kw_only=True)
class ImportedGraph:
    """An ONNX graph that has no PyTorch behind it.

    What it is compared with is itself, one frame at a time: the comparison then proves
    that a frame's answer does not depend on its place in a batch.
    """

    model: Any
    """`onnx.ModelProto` that keeps the contract."""
    records: tuple[pb.CheckpointRecord, ...]
    runner: Runner

    @property
    def reference(self) -> str:
        """Name what gives the reference outputs."""
        return f"onnxruntime {onnxruntime.__version__} batch 1"

    def onnx(self, _frames: Sequence[NetworkFrame]) -> Any:
        """Return the graph."""
        return self.model

    def split(self, _frames: Sequence[NetworkFrame]) -> None:
        """Return nothing: where to cut a foreign graph is not known."""

    def answer(self, frame: NetworkFrame) -> Arrays:
        """Return the outputs for one frame, without the batch axis."""
        outputs = self.runner.outputs([frame])
        return {name: values[0] for name, values in outputs.items()}
