"""PyTorch operators whose ONNX form is chosen here, in place of the exporter's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
from onnxscript import opset18 as op

from spinert.export.networks.roi_align_operator import roi_align_node

__all__ = ["TRANSLATIONS"]


def _divided(self: Any, other: Any, rounding_mode: str | None = None) -> Any:
    """Divide integers as integers.

    The exporter goes through float32, which cannot count beyond 2**24 and would
    become float16 in a half-precision graph. ONNX's Div of integers truncates.
    """
    if not self.dtype.is_integer():
        quotient = op.Div(self, other)
        return op.Floor(quotient) if rounding_mode == "floor" else quotient
    divisor = op.Constant(value_int=other) if isinstance(other, int) else other
    return op.Div(self, op.CastLike(divisor, self))


TRANSLATIONS: Final[Mapping[Any, Callable[..., Any]]] = MappingProxyType(
    {
        torch.ops.aten.div.Tensor_mode: _divided,
        torch.ops.spinert.roi_align.default: roi_align_node,
    }
)
"""For `torch.onnx.export(custom_translation_table=...)`."""
