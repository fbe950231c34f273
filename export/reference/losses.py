"""What training makes small."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from spinert.export.reference.assignment import LEFT_OUT, Targets
from spinert.export.reference.settings import DetectionSettings

__all__ = ["detection_losses", "focal_loss"]


def focal_loss(logits: Tensor, classes: Tensor, settings: DetectionSettings) -> Tensor:
    """Return the focal loss summed over anchors (arXiv 1708.02002, equation 5).

    Args:
        logits: float32 (N,A,classes).
        classes: int64 (N,A), as in `Targets`.
        settings: Its two parameters.
    """
    own = torch.arange(logits.shape[-1], device=logits.device)
    wanted = (classes[..., None] == own).to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(
        logits, wanted, reduction="none"
    )
    alpha = wanted * settings.focal_alpha + (1 - wanted) * (1 - settings.focal_alpha)
    # exp(-entropy) is the probability given to what is wanted.
    missed = -torch.expm1(-entropy)
    weighed = alpha * missed.clamp(min=0) ** settings.focal_gamma * entropy
    return (weighed * (classes != LEFT_OUT)[..., None]).sum()


def detection_losses(
    logits: Tensor, codes: Tensor, wanted: Targets, settings: DetectionSettings
) -> dict[str, Tensor]:
    """Return effdet's `class` and `box` losses and their weighed sum, `loss`.

    Args:
        logits: float32 (N,A,classes).
        codes: float32 (N,A,4).
        wanted: Of the same anchors.
        settings: Weights and shapes of the losses.
    """
    has_class = wanted.classes >= 0
    positives = has_class.sum() + 1.0
    of_class = focal_loss(logits, wanted.classes, settings) / positives
    delta = settings.huber_delta
    apart = functional.huber_loss(codes, wanted.codes, reduction="none", delta=delta)
    of_box = (apart * has_class[..., None]).sum() / (4 * positives)
    return {
        "loss": of_class + settings.box_weight * of_box,
        "class": of_class,
        "box": of_box,
    }
