"""What a network learns from frames, and how its progress is measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spinert.export.architecture import CLASSIFIER, Architecture
from spinert.export.errors import RecipeError
from spinert.export.networks.densenet import DenseNet
from spinert.export.networks.efficientdet import AnchorShapes, EfficientDet, anchors
from spinert.export.networks.grey_input import input_stage
from spinert.export.networks.suppression import survivors
from spinert.export.reference.assignment import targets
from spinert.export.reference.frames import NO_BOX, Frames
from spinert.export.reference.guide import Guide, GuidedLogits, cell_classes
from spinert.export.reference.inputs import (
    CLASS_NAMES,
    built,
    input_of,
    style_of,
)
from spinert.export.reference.losses import detection_losses, focal_loss
from spinert.export.reference.metrics import (
    Detections,
    area_under_roc,
    average_precision,
)
from spinert.export.reference.settings import DetectionSettings, NetworkSettings

__all__ = ["Classification", "Detection", "Forward", "Task", "task_of"]

Forward = Callable[[Tensor], Any]

_NMS_IOU: Final = 0.5
_CONSIDERED: Final = 300
_KEPT: Final = 100
_ROUNDS: Final = 20


class Task(Protocol):
    """One kind of network in training."""

    @property
    def fills(self) -> bool:
        """Whether its frames fill their canvas."""

    @property
    def grey(self) -> nn.Module:
        """What normalises: the first step of the exported graph."""

    def helper(self, network: nn.Module) -> nn.Module:
        """Return what is trained along with a network and left behind."""

    def raw(self, network: nn.Module, helper: nn.Module) -> Forward:
        """Return what is trained: normalised images to what `losses` takes."""

    def losses(self, raw: Forward, frames: Frames) -> dict[str, Tensor]:
        """Return scalars; `loss` is the one to make small."""

    def metrics(
        self, network: nn.Module, batches: Iterable[Frames]
    ) -> dict[str, float]:
        """Measure a network in evaluation mode."""


def _dense(network: nn.Module) -> DenseNet:
    if not isinstance(network, DenseNet):
        raise RecipeError("only DenseNets are trained here as classifiers")
    return network


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Normal or abnormal, by one logit."""

    grey: nn.Module
    """Normalises; the first step of the exported graph."""
    settings: DetectionSettings
    """Of the guide's focal loss."""
    fills: bool = True

    def helper(self, network: nn.Module) -> nn.Module:
        """Return a `Guide`."""
        return Guide(_dense(network), len(CLASS_NAMES))

    def raw(self, network: nn.Module, helper: nn.Module) -> Forward:
        """Return the network and its guide: (N,3,E,E) to `GuidedLogits`."""
        dense = _dense(network)

        def forward(images: Tensor) -> GuidedLogits:
            guided: GuidedLogits = helper(dense, images)
            return guided

        return forward

    def losses(self, raw: Forward, frames: Frames) -> dict[str, Tensor]:
        """Return the binary cross entropy, and the focal loss of the guide."""
        logits: GuidedLogits = raw(self.grey(frames.images))
        # A window is abnormal where a lesion can be seen in it.
        wanted = (frames.labels != NO_BOX).any(dim=1).float()
        entropy = functional.binary_cross_entropy_with_logits(
            logits.frame[:, 0].float(), wanted
        )
        losses = [self._guide_loss(map_, frames) for map_ in logits.cells]
        guide = torch.stack(losses).sum()
        return {"loss": entropy + guide, "class": entropy, "guide": guide}

    def _guide_loss(self, logits: Tensor, frames: Frames) -> Tensor:
        side = math.isqrt(logits.shape[1])
        classes = cell_classes(frames.boxes, frames.labels, frames.edge_px, side)
        total = focal_loss(logits.float(), classes, self.settings)
        return total / ((classes >= 0).sum() + 1.0)

    @torch.no_grad()
    def metrics(
        self, network: nn.Module, batches: Iterable[Frames]
    ) -> dict[str, float]:
        """Return the area under the ROC curve."""
        scores, abnormal = [], []
        for frames in batches:
            logits = network(self.grey(frames.images))[:, 0]
            scores.append(logits.double().cpu().numpy())
            abnormal.append(frames.abnormal.cpu().numpy())
        area = area_under_roc(np.concatenate(scores), np.concatenate(abnormal))
        return {"auroc": area}


@lru_cache(maxsize=4)
def _anchors(shapes: AnchorShapes, edge: int, device: torch.device) -> Tensor:
    """Return the anchors of a square input; the same in every step of a stage."""
    return anchors(shapes, edge, edge).to(device)


def _suppressed(boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """Return which candidates (N,K) survive class-wise suppression."""
    # Classes are moved apart, so that boxes of different ones never overlap.
    apart = labels[..., None] * (2 * boxes.max().clamp(min=1.0))
    keep = survivors(boxes + apart, _NMS_IOU, _ROUNDS).keep > 0
    return keep & (keep.cumsum(1) <= _KEPT)


def _by_class(boxes: Tensor, scores: Tensor, labels: Tensor) -> list[Detections]:
    """Split one frame's boxes by their class."""
    arrays = boxes.double().cpu().numpy(), scores.double().cpu().numpy()
    own = labels.cpu().numpy()
    return [
        Detections(boxes=arrays[0][own == index], scores=arrays[1][own == index])
        for index in range(len(CLASS_NAMES))
    ]


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Boxes of the seven classes, by an EfficientDet."""

    grey: nn.Module
    """Normalises and fills; the first step of the exported graph."""
    shapes: AnchorShapes
    settings: DetectionSettings
    fills: bool = False

    def helper(self, network: nn.Module) -> nn.Module:
        """Return nothing to train."""
        return nn.Identity()

    def raw(self, network: nn.Module, helper: nn.Module) -> Forward:
        """Return the heads: (N,3,E,E) to logits (N,A,C) and box codes (N,A,4)."""
        outputs: Forward = network.outputs
        return outputs

    def losses(self, raw: Forward, frames: Frames) -> dict[str, Tensor]:
        """Return the focal and the box loss."""
        logits, codes = raw(self.grey(frames.images, frames.sizes))
        edge = frames.edge_px
        wanted = targets(
            frames.boxes,
            frames.labels,
            _anchors(self.shapes, edge, logits.device),
            matched_iou=self.settings.matched_iou,
            unmatched_iou=self.settings.unmatched_iou,
        )
        return detection_losses(logits.float(), codes.float(), wanted, self.settings)

    @torch.no_grad()
    def metrics(
        self, network: nn.Module, batches: Iterable[Frames]
    ) -> dict[str, float]:
        """Return the average precision at IoU 0.5 of each class, and their mean."""
        found: list[list[Detections]] = []
        true: list[list[Detections]] = []
        for some in batches:
            seen = network(self.grey(some.images, some.sizes), some.sizes)
            boxes, scores, labels = (part[:, :_CONSIDERED].float() for part in seen)
            keep = _suppressed(boxes, scores, labels)
            for row in range(some.count):
                own = keep[row]
                parts = boxes[row, own], scores[row, own], labels[row, own]
                found.append(_by_class(*parts))
                real = some.labels[row] != NO_BOX
                ones = torch.ones(int(real.sum()))
                lesions = some.boxes[row, real], ones, some.labels[row, real]
                true.append(_by_class(*lesions))
        return _precisions(found, true)


def _precisions(
    found: list[list[Detections]], true: list[list[Detections]]
) -> dict[str, float]:
    """Return AP50 by class name and `map50`; classes without a lesion are left out."""
    each = {
        name: average_precision([f[at] for f in found], [t[at] for t in true])
        for at, name in enumerate(CLASS_NAMES)
    }
    known = {name: value for name, value in each.items() if not np.isnan(value)}
    mean = float(np.mean(list(known.values()))) if known else float("nan")
    return {"map50": mean, **{f"ap50 {name}": v for name, v in known.items()}}


def task_of(settings: NetworkSettings, architecture: Architecture) -> Task:
    """Return what a network has to learn.

    Raises:
        RecipeError: The style is unknown, or a detector of another family is asked
            for.
    """
    style = style_of(settings, architecture)
    grey = input_stage(input_of(architecture, style))
    if architecture.role == CLASSIFIER:
        return Classification(grey=grey, settings=settings.detection)
    with torch.device("meta"):
        network = built(settings, architecture)
    if not isinstance(network, EfficientDet):
        message = f"{settings.architecture}: only EfficientDets are trained here"
        raise RecipeError(message)
    return Detection(
        grey=grey, shapes=network.spec.anchors, settings=settings.detection
    )
