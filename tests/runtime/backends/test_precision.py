"""What every report calls the precision of a run."""

from __future__ import annotations

import pytest

from spinert.runtime.backends.precision import precision_text


@pytest.mark.parametrize(
    ("backend", "precision", "words"),
    [
        ("onnxruntime", "fp32", "FP32"),
        ("onnxruntime", "fp16", "FP16, emulated on CPU"),
        ("onnxruntime 1.31.1", "fp16", "FP16, emulated on CPU"),
        # A frame of which one network was computed again by its split graphs.
        ("onnxruntime 1.31.1", "fp16 + fp32", "FP16 + FP32, emulated on CPU"),
        ("onnxruntime-cuda 1.31.1", "fp16", "FP16"),
        ("tensorrt 11.4", "fp16", "FP16"),
        ("openvino 2026.4", "bf16", "BF16"),
    ],
)
def test_half_precision_without_half_arithmetic_is_called_emulated(
    backend, precision, words
):
    assert precision_text(backend, precision) == words
