"""What TensorRT says, for the log and for one-line errors."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from spinert.runtime.compiled.flavour import Flavour
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["api_logger", "build_error", "parse_error"]

logger = logging.getLogger(__name__)

_KEPT_ERRORS: Final = 16
# Of Builder errors: the layer for which no kernel was found (TensorRT 10, 11, RTX 1).
_LAYER: Final = re.compile(
    r"find any implementation for node (\S+)|(\S+) has no runners that implement it"
)
_SEVERITY_LEVELS: Final = (
    logging.ERROR,  # INTERNAL_ERROR
    logging.ERROR,
    logging.INFO,  # warnings about every graph, e.g. that labels are int64
    logging.DEBUG,
)


def api_logger(api: Any) -> Any:
    """Return an ILogger that writes to `logging` and keeps the last errors.

    They stand in its attribute `errors`, oldest first. It must outlive every object
    that is made with it.
    """

    class Logger(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            api.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=_KEPT_ERRORS)

        def log(self, severity: Any, message: str) -> None:
            level = int(severity)
            if level >= len(_SEVERITY_LEVELS):
                return
            text = " ".join(message.split())
            if _SEVERITY_LEVELS[level] == logging.ERROR:
                self.errors.append(text)
            logger.log(_SEVERITY_LEVELS[level], "%s", text)

    return Logger()


def parse_error(flavour: Flavour, role: str, parser: Any) -> BackendUnavailable:
    """Return the error that names the first node the parser could not read."""
    errors = (parser.get_error(index) for index in range(parser.num_errors))
    error = next((error for error in errors if error.node_operator()), None)
    if error is None:
        return BackendUnavailable(
            Reason.ENGINE_BUILD_FAILED,
            f"{flavour} cannot read the graph of network {role!r}: it is damaged or "
            "of a newer ONNX; export the bundle again",
        )
    operator = error.node_operator()
    node = error.node_name() or f"number {error.node()}"
    return BackendUnavailable(
        Reason.ENGINE_BUILD_FAILED,
        f"{flavour} cannot read node {node!r} ({operator}) of network "
        f"{role!r}; {_way_out(flavour, operator)}",
    )


def build_error(
    flavour: Flavour, role: str, errors: Sequence[str]
) -> BackendUnavailable:
    """Return the error of a build without result; the log has TensorRT's words."""
    layers = (found for text in errors if (found := _LAYER.search(text)))
    match = next(layers, None)
    layer = (match[1] or match[2]).rstrip(".") if match else ""
    what = f"layer {layer!r} of network" if layer else "network"
    return BackendUnavailable(
        Reason.ENGINE_BUILD_FAILED,
        f"{flavour} cannot compile {what} {role!r}; the log says why; "
        f"{_way_out(flavour, '')}",
    )


def _way_out(flavour: Flavour, operator: str) -> str:
    if operator == "RoiAlign" and operator not in flavour.product.operators:
        return (
            "export it with roi_sampling = 2, or use backend "
            '"tensorrt" or "onnxruntime-cuda"'
        )
    return 'use backend "onnxruntime-cuda", or export it with other operators'
