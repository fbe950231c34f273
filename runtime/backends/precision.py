"""The precision of a backend, in the words of every report."""

from __future__ import annotations

from typing import Final

from spinert.proto.agreement import FP16

__all__ = ["precision_text"]

_WITHOUT_HALVES: Final = "onnxruntime"
"""The backend that runs half-precision graphs on a processor without the arithmetic."""


def precision_text(backend: str, precision: str) -> str:
    """Return "FP32", "FP16" or, where only rounding is half's, that it is emulated.

    ONNX Runtime's CPU provider keeps weights and tensors of such a graph as float16
    and computes in float32 between casts: neither the sums of a GPU nor its speed.

    Args:
        backend: Its name; a version may follow ("onnxruntime 1.31.1").
        precision: As in `Capabilities`; of several networks joined by " + ".
    """
    name = precision.upper()
    is_emulated = backend.split(" ")[0] == _WITHOUT_HALVES and FP16 in precision
    return f"{name}, emulated on CPU" if is_emulated else name
