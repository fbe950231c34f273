"""What each ONNX operator means for half precision: the one table of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = [
    "ARITHMETIC",
    "EXACT",
    "HEAVY",
    "KEPT",
    "LINEAR",
    "MOVING",
    "SIZES",
    "kept_reason",
]

LINEAR: Final = frozenset({"Gemm", "MatMul"})

HEAVY: Final = LINEAR | {"Conv", "ConvTranspose"}
"""Where the time goes. Their sums are accumulated in float32 by every back end."""

MOVING: Final = frozenset(
    [
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    ]
)
"""They compute nothing: they take the precision of what they move."""

ARITHMETIC: Final = frozenset(
    [
        "Add",
        "AveragePool",
        "Clip",
        "Elu",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        # A few hundred values of one vector. TensorRT takes their mean and variance
        # in float32 (INormalizationLayer, setComputePrecision), as ONNX Runtime does.
        "LayerNormalization",
        "LeakyRelu",
        "Max",
        "MaxPool",
        "Min",
        "Mish",
        "Mul",
        "Neg",
        "PRelu",
        "Pad",
        "Relu",
        "Resize",
        "Sigmoid",
        "Softplus",
        "Sub",
        "Sum",
        "Tanh",
        "Where",
    ]
)
"""Between two heavy nodes they lose no more than the tensor they write does."""

SIZES: Final = frozenset({"Shape", "Size"})
"""They read no value, whatever its type."""

EXACT: Final = MOVING | {"Clip", "Max", "MaxPool", "Min", "Neg", "Relu", "Where"}
"""Their results are values they were given: nothing to round or to measure."""

KEPT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Cast": "a conversion from integers, exact in float32 only",
        "Div": "a quotient may leave half's range",
        "Exp": "an exponential may leave half's range",
        "GlobalAveragePool": "a mean of many values",
        "GroupNormalization": "mean and variance of many values",
        "InstanceNormalization": "mean and variance of many values",
        "Pow": "squares may leave half's range",
        "Reciprocal": "a quotient may leave half's range",
        "ReduceMean": "a mean of many values",
        "ReduceSum": "a sum of many values",
        "RoiAlign": "coordinates of regions",
        "Softmax": "a sum of exponentials",
        "Sqrt": "roots of small values lose half their digits",
        "TopK": "the order of scores",
    }
)
"""Why an operator never runs in half."""


def kept_reason(operator: str) -> str | None:
    """Return why an operator always stays in float32; None: it need not."""
    if operator in HEAVY | MOVING | ARITHMETIC:
        return None
    return KEPT.get(operator, "an operator that was not examined for half precision")
