"""onnxruntime-gpu on a machine without a GPU: the CPU package under another name.

Sessions, bindings and values are real and compute on the CPU; only what tells where
they are says CUDA.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import onnxruntime

CUDA = "CUDAExecutionProvider"


class CudaOrt:
    """The module onnxruntime. Attributes tell it what to be like."""

    __version__ = onnxruntime.__version__
    SessionOptions = onnxruntime.SessionOptions
    ExecutionMode = onnxruntime.ExecutionMode

    def __init__(self) -> None:
        self.providers = [CUDA, "CPUExecutionProvider"]
        self.used = [CUDA, "CPUExecutionProvider"]
        self.on_host: tuple[str, ...] = ()
        self.asked: list[Any] = []
        self.values: list[Any] = []
        self.preloaded = 0
        self.fails = ""
        self.OrtValue = SimpleNamespace(ortvalue_from_shape_and_type=self._value)

    def get_available_providers(self) -> list[str]:
        return self.providers

    def preload_dlls(self) -> None:
        self.preloaded += 1
        sys.stdout.write("Failed to load libcudnn.so.9\n")

    def InferenceSession(
        self, path: str, sess_options: Any, providers: Sequence[Any]
    ) -> Any:
        self.asked.append((sess_options, providers))
        return CudaSession(self, path, sess_options)

    def _value(self, shape: Any, dtype: Any, device: str, index: int) -> Any:
        if (device, index) != ("cuda", 0):
            raise ValueError(f"{device} {index}")
        value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, dtype)
        self.values.append(value)
        return value


class CudaSession:
    """onnxruntime.InferenceSession."""

    def __init__(self, ort: CudaOrt, path: str, options: Any) -> None:
        self._ort = ort
        self._session = onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return self._ort.used

    def get_provider_graph_assignment_info(self) -> list[Any]:
        parts = self._session.get_provider_graph_assignment_info()
        return [
            SimpleNamespace(
                ep_name=self._place(node.op_type), get_nodes=lambda n=node: [n]
            )
            for part in parts
            for node in part.get_nodes()
        ]

    def run_with_iobinding(self, binding: Any) -> None:
        if self._ort.fails:
            raise RuntimeError(self._ort.fails)
        self._session.run_with_iobinding(binding)

    def _place(self, op_type: str) -> str:
        return "CPUExecutionProvider" if op_type in self._ort.on_host else CUDA
