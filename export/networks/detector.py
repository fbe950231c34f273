"""The detector graph: grey image in, the K best candidates out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spinert.export.networks.grey_input import GreyInput

__all__ = ["DetectorGraph"]


class DetectorGraph(nn.Module):
    """Normalise, detect, and keep the K highest class scores of all boxes.

    The selection is that of the official post-processing (SparseRCNN.inference): a
    box may appear once per class, nothing is thresholded or suppressed.
    """

    def __init__(self, grey: GreyInput, network: nn.Module, candidates: int) -> None:
        """Take a network from (image, image_size) to (boxes, class logits)."""
        super().__init__()
        self.grey = grey
        self.network = network
        self.candidates = candidates

    def forward(
        self, image: Tensor, image_size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the candidates, best score first.

        Args:
            image: uint8 (N,1,H,W).
            image_size: int32 (N,2), valid (height, width).

        Returns:
            boxes float32 (N,K,4), xyxy in network-input pixels; scores float32
            (N,K); labels int64 (N,K).
        """
        boxes, logits = self.network(self.grey(image, image_size), image_size)
        classes = logits.shape[2]
        best, index = torch.topk(logits.flatten(1), self.candidates, dim=1)
        box = torch.div(index, classes, rounding_mode="floor")
        labels = index - box * classes
        chosen = torch.gather(boxes, 1, box[:, :, None].expand(-1, -1, 4))
        return chosen, torch.sigmoid(best), labels
