"""effdet's models beside a CPU build of torch, as an independent reference."""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from support.torchvision_models import torchvision_module

__all__ = [
    "effdet_bench",
    "effdet_config",
    "effdet_model",
    "effdet_predictions",
    "effdet_resized",
]


@cache
def _effdet() -> Any:
    if find_spec("effdet") is None:
        pytest.skip("effdet is not installed: run `make test`")
    torchvision_module("ops.boxes")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        # effdet compiles its post-processing, which the replaced nms does not suit.
        patch.setattr(torch.jit, "script", lambda function, *_, **__: function)
        return importlib.import_module("effdet")


def effdet_config(name: str, *, classes: int = 7, edge: int | None = None) -> Any:
    """Return effdet's own configuration, e.g. of `tf_efficientdet_d0`."""
    config = _effdet().get_efficientdet_config(name)
    config.num_classes = classes
    if edge is not None:
        config.image_size = (edge, edge)
    return config


def effdet_model(config: Any) -> nn.Module:
    """Return `effdet.EfficientDet` without downloaded weights, in eval mode."""
    model: nn.Module = _effdet().EfficientDet(config, pretrained_backbone=False)
    return model.eval()


def effdet_bench(model: nn.Module) -> nn.Module:
    """Return effdet's `DetBenchTrain` around a model, as its training saves it."""
    bench: nn.Module = _effdet().DetBenchTrain(model)
    return bench


@torch.no_grad()
def effdet_predictions(
    model: nn.Module, x: Tensor, img_scale: Tensor, img_size: Tensor
) -> list[dict[str, Tensor]]:
    """Return what `DetBenchPredict` answers, in original pixels, labels from 0.

    Args:
        model: From `effdet_model`.
        x: Normalised float32 (N,3,H,W).
        img_scale: float32 (N,), original over resized.
        img_size: float32 (N,2), original (width, height).
    """
    bench = _effdet().DetBenchPredict(model).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = bench(x, {"img_scale": img_scale, "img_size": img_size})
    return [
        {"boxes": rows[:, :4], "scores": rows[:, 4], "labels": rows[:, 5].long() - 1}
        for rows in found
    ]


def effdet_resized(grey: npt.NDArray[np.uint8], edge: int) -> Tensor:
    """Return float32 (3,edge,edge) as effdet's evaluation loader makes it."""
    _effdet()
    transforms = importlib.import_module("effdet.data.transforms")
    mean, std = transforms.IMAGENET_DEFAULT_MEAN, transforms.IMAGENET_DEFAULT_STD
    fill = transforms.resolve_fill_color("mean", mean)
    resize = transforms.ResizePad(target_size=edge, fill_color=fill)
    resized, _ = resize(Image.fromarray(grey).convert("RGB"), {})
    x = torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1).float()
    scaled = [torch.tensor([v * 255 for v in c]).view(3, 1, 1) for c in (mean, std)]
    return (x - scaled[0]) / scaled[1]
