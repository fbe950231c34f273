"""The 8-bit grey image as a network sees it: normalised, with its padding filled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["GreyInput"]


class GreyInput(nn.Module):
    """Replicate grey to channels, normalise, and fill what lies beyond the image.

    Part of every graph, so that uint8 (N,1,H,W) is the whole interface. The fill
    is a value *after* normalisation, as detectron2 pads (ImageList.from_tensors).
    """

    mean: Tensor
    std: Tensor
    fill: Tensor

    def __init__(
        self, *, mean: Sequence[float], std: Sequence[float], fill: Sequence[float]
    ) -> None:
        """Take one value per channel, in units of the 8-bit grey value."""
        super().__init__()
        for name, values in (("mean", mean), ("std", std), ("fill", fill)):
            constant = torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, constant, persistent=False)

    def forward(self, image: Tensor, image_size: Tensor | None = None) -> Tensor:
        """Return float32 (N,C,H,W).

        Args:
            image: uint8 (N,1,H,W).
            image_size: int32 (N,2), valid (height, width); None: all is valid.
        """
        grey = (image.to(torch.float32) - self.mean) / self.std
        if image_size is None:
            return grey
        rows = torch.arange(image.shape[2], dtype=torch.int32, device=image.device)
        columns = torch.arange(image.shape[3], dtype=torch.int32, device=image.device)
        in_height = rows.view(1, 1, -1, 1) < image_size[:, 0].view(-1, 1, 1, 1)
        in_width = columns.view(1, 1, 1, -1) < image_size[:, 1].view(-1, 1, 1, 1)
        return torch.where(in_height & in_width, grey, self.fill)
