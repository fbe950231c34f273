"""torchvision's models beside a CPU build of torch, as an independent reference.

The wheel from PyPI is built for another torch: its compiled operators do not load,
and importing torchvision fails on their missing schemas. Defining the schemas first
makes its pure Python models importable; the operators themselves stay unusable.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@cache
def _densenet_module() -> ModuleType:
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
        # Schemas live as long as their library: the module keeps it.
        module = importlib.import_module("torchvision.models.densenet")
        module.__dict__["_schemas"] = fragment
        return module
    return importlib.import_module("torchvision.models.densenet")


def torchvision_densenet(**sizes: Any) -> torch.nn.Module:
    """Return `torchvision.models.DenseNet(**sizes)` in eval mode."""
    model: torch.nn.Module = _densenet_module().DenseNet(**sizes)
    return model.eval()
