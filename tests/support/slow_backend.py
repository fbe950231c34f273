"""ONNX Runtime as a backend that takes its time to load, and does as it is told.

It reads the file `told` in the working directory: nothing there, it waits and
reports progress; "go", it loads; "fail", it cannot load; "wrong", its answers are
not those of the bundle; "hold" once it has loaded, it keeps batches until told
otherwise.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from spinert.runtime.backends.onnxruntime import OnnxRuntimeBackend
from spinert.runtime.errors import BackendUnavailable, Reason

TOLD = Path("told")


class SlowBackend(OnnxRuntimeBackend):
    def __init__(self, options):
        super().__init__(options)
        self.progress = options.progress
        self.told = ""

    @property
    def capabilities(self):
        return replace(super().capabilities, name="slow", version="7")

    def load(self, role, onnx, network):
        while not TOLD.exists() or not TOLD.read_text():
            self.progress(f"building {role}", 0.5)
            time.sleep(0.02)
        self.told = TOLD.read_text()
        if self.told == "fail":
            raise BackendUnavailable(Reason.BACKEND_UNAVAILABLE, "no such GPU")
        super().load(role, onnx, network)

    def run(self, role, inputs):
        while TOLD.read_text() == "hold":
            time.sleep(0.02)
        outputs = dict(super().run(role, inputs))
        if self.told == "wrong" and role == "classifier":
            outputs["logits"] = outputs["logits"] + 1
        return outputs
