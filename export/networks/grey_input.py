"""The first step of every graph: the image as its network sees it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spinert.proto import bundle_pb2 as pb

__all__ = ["GreyInput", "PreparedInput", "input_stage"]


class GreyInput(nn.Module):
    """Replicate grey to channels, normalise, and fill what lies beyond the image.

    Part of every graph that takes uint8 (N,1,H,W), so that this is its whole
    interface. The fill is a value *after* normalisation, as detectron2 pads
    (ImageList.from_tensors).
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


class PreparedInput(nn.Module):
    """Pass on an image that the runtime has normalised and filled."""

    def forward(self, image: Tensor, image_size: Tensor | None = None) -> Tensor:
        """Return `image`, float32 (N,C,H,W), as it is."""
        return image


def input_stage(stated: pb.NetworkInput) -> nn.Module:
    """Return the first step of a graph whose input is `stated`."""
    if stated.element_type == pb.ELEMENT_FLOAT32:
        return PreparedInput()
    return GreyInput(mean=stated.mean, std=stated.std, fill=stated.fill)
