"""Where the lesions are: what a classifier's features must tell during training.

One label per frame says little about a lesion of ten pixels. So two 1x1 convolutions
read classes from the cells of the third block (16 px) and of the last features (32 px);
they are left behind when training ends, as the classifier of GoogLeNet's inner layers
was (arXiv 1409.4842, section 5).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from spinert.export.networks.densenet import DenseNet
from spinert.export.reference.assignment import BACKGROUND, LEFT_OUT
from spinert.export.reference.frames import NO_BOX
from spinert.export.reference.weights import PRIOR_BIAS

__all__ = ["Guide", "GuidedLogits", "cell_classes"]

_INNER: Final = "block3"


class GuidedLogits(NamedTuple):
    """What a guided classifier says."""

    frame: Tensor
    """(N,1), abnormal or not."""
    cells: tuple[Tensor, ...]
    """(N,side x side,classes) each, row by row."""


def cell_classes(boxes: Tensor, labels: Tensor, edge_px: int, side: int) -> Tensor:
    """Return what the cells of a square input are to say.

    A cell has a lesion's class where it holds the lesion's centre or the lesion holds
    its own; other cells that a lesion touches are left out. Of several, the last.

    Args:
        boxes: float32 (N,M,4), xyxy in pixels.
        labels: int64 (N,M); `NO_BOX` in rows without a lesion.
        edge_px: Of the input.
        side: Cells along an edge.

    Returns:
        int64 (N,side x side): a class, `BACKGROUND` or `LEFT_OUT`.
    """
    low = torch.arange(side, device=boxes.device) * (edge_px / side)
    across, down = low.repeat(side), low.repeat_interleave(side)
    first = torch.stack((across, down), dim=-1)
    last = first + edge_px / side
    middle = (first + last) / 2
    start, end = boxes[:, :, None, :2], boxes[:, :, None, 2:]
    centre = (start + end) / 2
    holds_centre = ((first <= centre) & (centre < last)).all(-1)
    is_held = ((start <= middle) & (middle < end)).all(-1)
    touches = ((start < last) & (first < end)).all(-1)
    real = (labels != NO_BOX)[..., None]
    touched = (touches & real).any(dim=1)
    classes = torch.where(touched, LEFT_OUT, BACKGROUND)
    own = (holds_centre | is_held) & real
    for row in range(boxes.shape[1]):
        classes = torch.where(own[:, row], labels[:, row, None], classes)
    return classes


class Guide(nn.Module):
    """Reads classes from two maps of a DenseNet's features."""

    def __init__(self, network: DenseNet, classes: int) -> None:
        """Make what reads the maps.

        Args:
            network: Whose maps are read.
            classes: How many.
        """
        super().__init__()
        inner = network.backbone.get_submodule("transition3").norm.num_features
        self.readers = nn.ModuleList(
            nn.Conv2d(int(channels), classes, 1)
            for channels in (inner, network.spec.features)
        )
        for reader in self.readers:
            nn.init.normal_(reader.weight, 0.0, 0.01)
            nn.init.constant_(reader.bias, PRIOR_BIAS)

    def forward(self, network: DenseNet, x: Tensor) -> GuidedLogits:
        """Return what a network says of normalised (N,3,E,E), and what its maps say."""
        inner = x
        for name, part in network.backbone.named_children():
            x = part(x)
            inner = x if name == _INNER else inner
        features = network.activated(x)
        read = (
            reader(map_).flatten(2).transpose(1, 2)
            for reader, map_ in zip(self.readers, (inner, features), strict=True)
        )
        frame = network.head["heads"][0](features.mean(dim=(2, 3)))
        return GuidedLogits(frame, tuple(read))
