"""torchvision's models beside a CPU build of torch, as an independent reference.

The wheel from PyPI is built for another torch: its compiled operators do not load,
and importing torchvision fails on their missing schemas. Defining the schemas first
makes its pure Python models importable. The two operators that detectors use, nms
and roi_align, are replaced for the test process by plain loops that follow
torchvision's C++ kernels: its own Python form of roi_align is wrong at borders.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

__all__ = [
    "greedy_nms",
    "plain_roi_align",
    "torchvision_densenet",
    "torchvision_module",
]

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@cache
def _torchvision() -> ModuleType:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        pytest.skip("torchvision is not installed: run `make test`")
    try:
        for library in Path(spec.origin).parent.glob("_C*.so"):
            torch.ops.load_library(library)
    except OSError:
        fragment = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _SCHEMAS:
            fragment.define(schema)
        package = importlib.import_module("torchvision")
        # Schemas live as long as their library: the module keeps it.
        package.__dict__["_schemas"] = fragment
        _replace_operators()
        return package
    return importlib.import_module("torchvision")


def _replace_operators() -> None:
    boxes = importlib.import_module("torchvision.ops.boxes")
    poolers = importlib.import_module("torchvision.ops.poolers")
    boxes.__dict__["nms"] = greedy_nms
    poolers.__dict__["roi_align"] = plain_roi_align


def torchvision_module(name: str) -> Any:
    """Return a module by its name below torchvision, such as `models.detection`."""
    _torchvision()
    return importlib.import_module(f"torchvision.{name}")


def torchvision_densenet(**sizes: Any) -> torch.nn.Module:
    """Return `torchvision.models.DenseNet(**sizes)` in eval mode."""
    model: torch.nn.Module = torchvision_module("models.densenet").DenseNet(**sizes)
    return model.eval()


def greedy_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the kept indices, best score first (torchvision/csrc/ops/cpu/nms)."""
    order = torch.sort(scores, descending=True, stable=True).indices
    ranked = boxes[order].numpy()
    areas = (ranked[:, 2] - ranked[:, 0]) * (ranked[:, 3] - ranked[:, 1])
    alive = np.ones(len(ranked), dtype=bool)
    kept = []
    for place, box in enumerate(ranked):
        if not alive[place]:
            continue
        kept.append(place)
        rest = ranked[place + 1 :]
        edges = np.minimum(box[2:], rest[:, 2:]) - np.maximum(box[:2], rest[:, :2])
        both = np.maximum(edges, np.float32(0)).prod(axis=1)
        with np.errstate(invalid="ignore"):  # of two boxes without area
            iou = both / (areas[place] + areas[place + 1 :] - both)
        alive[place + 1 :] &= ~(iou.astype(np.float64) > iou_threshold)
    return order[kept]


def plain_roi_align(
    input: Tensor,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Return (K,C,bins,bins) as torchvision/csrc/ops/cpu/roi_align_kernel does."""
    bins = output_size if isinstance(output_size, int) else output_size[0]
    if not isinstance(boxes, Tensor):
        frames = [torch.full((len(b), 1), float(i)) for i, b in enumerate(boxes)]
        boxes = torch.cat((torch.cat(frames), torch.cat(list(boxes))), dim=1)
    pooled = []
    for roi in boxes:
        level, box = input[int(roi[0])], roi[1:] * spatial_scale
        pooled.append(_pooled(level, box, bins, sampling_ratio, aligned))
    empty = input.new_zeros((0, input.shape[1], bins, bins))
    return torch.stack(pooled) if pooled else empty


def _pooled(level: Tensor, box: Tensor, bins: int, ratio: int, aligned: bool) -> Tensor:
    """Pool one box (4,), in pixels of one map (C,H,W)."""
    start = box[:2] - 0.5 if aligned else box[:2]
    extent = box[2:] - box[:2] if aligned else (box[2:] - box[:2]).clamp(min=1.0)
    across, columns = _axis(start[0], extent[0], level.shape[2], bins, ratio)
    down, rows = _axis(start[1], extent[1], level.shape[1], bins, ratio)
    return down @ level[:, rows, columns] @ across.T


def _axis(
    start: Tensor, extent: Tensor, pixels: int, bins: int, ratio: int
) -> tuple[Tensor, slice]:
    """Return the share of each pixel of an axis in each bin, and which pixels."""
    step = np.float32(extent) / np.float32(bins)
    begin = np.float32(start)
    samples = ratio if ratio > 0 else int(np.ceil(step))
    weights = np.zeros((bins, pixels), np.float32)
    for bin_ in range(bins):
        for sample in range(samples):
            within = (np.float32(sample) + np.float32(0.5)) * step
            at = begin + np.float32(bin_) * step + within / np.float32(samples)
            if at < -1.0 or at > pixels:
                continue
            at = min(max(at, np.float32(0)), np.float32(pixels - 1))
            low = int(at)
            weights[bin_, low] += (1 - (at - low)) / samples
            if low + 1 < pixels:
                weights[bin_, low + 1] += (at - low) / samples
    used = np.flatnonzero(weights.any(axis=0))
    kept = slice(used[0], used[-1] + 1) if len(used) else slice(0, 0)
    return torch.from_numpy(weights[:, kept]), kept
