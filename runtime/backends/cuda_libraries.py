"""The libraries of NVIDIA that ONNX Runtime needs on a GPU."""

from __future__ import annotations

import ctypes
import io
import logging
from contextlib import redirect_stdout
from typing import Any, Final

__all__ = ["cudnn_version", "load_libraries"]

logger = logging.getLogger(__name__)

_CUDNN: Final = "libcudnn.so.9"


def load_libraries(ort: Any) -> None:
    """Load CUDA and cuDNN from the packages of NVIDIA, where they are installed."""
    said = io.StringIO()
    # It prints what it did not find; whether that matters shows at the first session.
    with redirect_stdout(said):
        ort.preload_dlls()
    if text := said.getvalue().strip():
        logger.info("onnxruntime: %s", " | ".join(text.splitlines()))


def cudnn_version() -> str:
    """Return e.g. "cuDNN 91002"; empty where it cannot be asked.

    Which algorithms ONNX Runtime takes for convolutions depends on it.
    """
    try:
        library = ctypes.CDLL(_CUDNN)
        library.cudnnGetVersion.restype = ctypes.c_size_t
        return f"cuDNN {library.cudnnGetVersion()}"
    except (OSError, AttributeError):
        return ""
