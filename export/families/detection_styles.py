"""What detectors of detectron2 and torchvision expect around them.

Protobuf JSON of `spinert.v1.NetworkInput` and `DetectionRule`, for the styles of
several families.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

__all__ = [
    "CLASS_WISE",
    "DETECTRON2_INPUT",
    "TORCHVISION_INPUT",
]

_EDGE: Final[Mapping[str, Any]] = MappingProxyType(
    {"short_edge": 800, "max_long_edge": 1333, "pad_multiple": 32}
)

DETECTRON2_INPUT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "element_type": "ELEMENT_UINT8",
        "resampler": "PILLOW_BILINEAR_U8_HORIZONTAL_FIRST",
        "resampler_version": "pillow<=12",
        "canvas": {"shortest_edge": {**_EDGE, "rounding": "ROUND_HALF_UP"}},
        # MODEL.PIXEL_MEAN and PIXEL_STD of the defaults, in BGR order.
        "mean": [103.53, 116.28, 123.675],
        "std": [1.0, 1.0, 1.0],
        "fill": [0.0, 0.0, 0.0],
    }
)
"""detectron2/config/defaults.py."""

TORCHVISION_INPUT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "element_type": "ELEMENT_FLOAT32",
        "resampler": "TORCH_BILINEAR_F32",
        "resampler_version": "torch 2",
        "canvas": {"shortest_edge": {**_EDGE, "rounding": "ROUND_DOWN"}},
        # ImageNet statistics (0.485, 0.456, 0.406; 0.229, 0.224, 0.225) times 255.
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "fill": [0.0, 0.0, 0.0],
    }
)
"""torchvision/models/detection/transform.py, GeneralizedRCNNTransform."""

CLASS_WISE: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "candidates": 0,  # all of them
        "score_floor": 0.05,
        "score_comparison": "GREATER",
        "nms_iou": 0.5,
        "nms_class_wise": True,
        "max_detections": 100,
        "min_box_edge_px": 0,
    }
)
"""Post-processing of both projects; torchvision's RetinaNet returns 300 detections."""
