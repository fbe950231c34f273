"""The detector graph: image in, candidates out.

A detector network maps the normalised image float32 (N,3,H,W) and its valid size
int32 (N,2) to A candidates of each frame: boxes float32 (N,A,4), xyxy in pixels of
the network input; scores float32 (N,A), probabilities; labels int64 (N,A), indices
of the bundle's classes. A fourth output `status` int32 (N,) is 0 where all went well
and 1 where an iteration inside the graph did not converge on that frame. A network
that finds fewer than A candidates fills up with score 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["DetectorGraph", "candidates_from_classes"]


def candidates_from_classes(
    boxes: Tensor, scores: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Make one candidate of every class of every box.

    Args:
        boxes: float32 (N,K,4), shared by all classes.
        scores: float32 (N,K,C).

    Returns:
        boxes (N,K*C,4), scores (N,K*C), labels int64 (N,K*C), the classes of a box
        behind each other.
    """
    count, classes = scores.shape[1:]
    spread = (
        boxes[:, :, None].expand(-1, -1, classes, -1).reshape(-1, count * classes, 4)
    )
    labels = torch.arange(classes, device=boxes.device).repeat(count)
    return spread, scores.flatten(1), labels[None].expand(boxes.shape[0], -1)


class DetectorGraph(nn.Module):
    """Normalise, detect, and keep the K best candidates.

    Nothing is thresholded or suppressed here: that is the host's part, by the
    bundle's rule.
    """

    def __init__(self, grey: nn.Module, network: nn.Module, keep: int | None) -> None:
        """Take the input stage, the network and K; None keeps all candidates."""
        super().__init__()
        self.grey = grey
        self.network = network
        self.keep = keep

    def forward(self, image: Tensor, image_size: Tensor) -> tuple[Tensor, ...]:
        """Return the candidates, best score first where K of them are chosen.

        Args:
            image: uint8 (N,1,H,W), or what the input stage takes.
            image_size: int32 (N,2), valid (height, width).

        Returns:
            boxes float32 (N,K,4), scores float32 (N,K), labels int64 (N,K), and
            status int32 (N,) where the network has one.
        """
        found = self.network(self.grey(image, image_size), image_size)
        if self.keep is None:
            return tuple(found)
        boxes, scores, labels, *status = found
        best, index = torch.topk(scores, self.keep, dim=1)
        chosen = torch.gather(boxes, 1, index[:, :, None].expand(-1, -1, 4))
        return chosen, best, torch.gather(labels, 1, index), *status
