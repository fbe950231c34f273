"""The classifier graph: one image in, one logit of every member out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ClassifierEnsemble"]


class ClassifierEnsemble(nn.Module):
    """Run every member on the same normalised image."""

    def __init__(self, grey: nn.Module, members: Sequence[nn.Module]) -> None:
        """Take the shared input and the members, each (N,3,H,W) to (N,1)."""
        super().__init__()
        self.grey = grey
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits float32 (N,M) for uint8 (N,1,H,W)."""
        x = self.grey(image)
        return torch.cat([member(x) for member in self.members], dim=1)
