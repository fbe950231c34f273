"""EfficientDet (arXiv 1911.09070) as rwightman/efficientdet-pytorch computes it.

Modules are named as in `effdet` 0.4.1. What follows the heads is `DetBenchPredict`
up to the class-wise NMS, which is the host's: the highest class scores of all anchors
are chosen and decoded. effdet takes the best 5000 and this network `top_k` of them,
because TensorRT's TopK layer selects 3840 at most; it matters only where more than
`top_k - 100` of the best are suppressed. effdet cuts boxes at the image's size times
the scale, which need not be whole: the host does (`clip_before_nms`), and this network
only keeps boxes from growing without bounds, one pixel further out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spinert.export.errors import GraphError
from spinert.export.networks.bifpn import LEVELS, BiFPN, BiFPNSpec, SeparableConv
from spinert.export.networks.box_coding import clipped_boxes
from spinert.export.networks.efficientnet import EfficientNet, EfficientNetSpec

__all__ = ["AnchorShapes", "EfficientDet", "EfficientDetSpec", "anchors"]

_FIRST_LEVEL: Final = 3
_EPS: Final = 1e-3
_MARGIN: Final = 1
"""Pixels: the valid size is truncated, so that the image's edge lies within these."""


@dataclass(frozen=True, kw_only=True)
class AnchorShapes:
    """The anchors of a cell; no weight shows more than their number."""

    scale: float = 4.0
    """Edge of the smallest anchor in strides; 5 in D7."""
    octaves: int = 3
    """Sizes per doubling."""
    shapes: tuple[tuple[float, float], ...] = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
    """Width and height in edges."""

    @property
    def per_cell(self) -> int:
        """Anchors of a cell, sizes first, then shapes."""
        return self.octaves * len(self.shapes)


@dataclass(frozen=True, kw_only=True)
class EfficientDetSpec:
    """Sizes of an EfficientDet."""

    backbone: EfficientNetSpec = field(default_factory=EfficientNetSpec)
    pyramid: BiFPNSpec = field(default_factory=BiFPNSpec)
    head_repeats: int = 3
    anchors: AnchorShapes = field(default_factory=AnchorShapes)
    classes: int = 7
    top_k: int = 1000


class _Head(nn.Module):
    """Convolutions shared by the levels, with norms of each level's own."""

    def __init__(self, outputs: int, spec: EfficientDetSpec) -> None:
        super().__init__()
        pyramid = spec.pyramid
        channels, same = pyramid.channels, pyramid.same_padding
        self.conv_rep = nn.ModuleList(
            SeparableConv(
                channels, channels, same=same, bias=pyramid.redundant_bias, norm=False
            )
            for _ in range(spec.head_repeats)
        )
        self.bn_rep = nn.ModuleList(
            nn.ModuleList(
                nn.ModuleDict({"bn": nn.BatchNorm2d(channels, eps=_EPS)})
                for _ in range(LEVELS)
            )
            for _ in range(spec.head_repeats)
        )
        predicted = outputs * spec.anchors.per_cell
        self.predict = SeparableConv(
            channels, predicted, same=same, bias=True, norm=False
        )
        self.outputs = outputs

    def features(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return what `predict` sees of each level."""
        seen = []
        for level, x in enumerate(maps):
            for convolution, norms in zip(self.conv_rep, self.bn_rep, strict=True):
                x = functional.silu(norms[level]["bn"](convolution(x)))
            seen.append(x)
        return seen

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (N,anchors,outputs): levels, rows, columns, anchors of a cell."""
        flat = [
            self.predict(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.outputs)
            for x in self.features(maps)
        ]
        return torch.cat(flat, dim=1)


def anchors(shapes: AnchorShapes, height: int, width: int) -> Tensor:
    """Return all anchors as effdet's `Anchors` makes and decodes them.

    Args:
        shapes: Of the anchors of each cell.
        height: Of the network input in pixels, a multiple of 128.
        width: Likewise.

    Returns:
        float32 (A,4): centre y, centre x, height, width in pixels. Rounded like
        effdet's, which stores corners in float32 and takes them apart again.
    """
    levels = []
    for level in range(_FIRST_LEVEL, _FIRST_LEVEL + LEVELS):
        stride = 2**level
        rows = np.arange(stride / 2, height, stride)[:, None, None]
        columns = np.arange(stride / 2, width, stride)[None, :, None]
        edges = (
            shapes.scale * stride * 2 ** (np.arange(shapes.octaves) / shapes.octaves)
        )
        half_width = np.array(
            [edge * w / 2 for edge in edges for w, _ in shapes.shapes]
        )
        half_height = np.array(
            [edge * h / 2 for edge in edges for _, h in shapes.shapes]
        )
        corners = np.broadcast_arrays(
            rows - half_height,
            columns - half_width,
            rows + half_height,
            columns + half_width,
        )
        levels.append(np.stack(corners, axis=-1).reshape(-1, 4))
    boxes = np.concatenate(levels).astype(np.float32)
    centres = (boxes[:, :2] + boxes[:, 2:]) / np.float32(2)
    return torch.from_numpy(np.hstack((centres, boxes[:, 2:] - boxes[:, :2])))


def _decoded(codes: Tensor, anchor: Tensor) -> Tensor:
    """Move and scale anchors: (...,4) as y, x, height, width to xyxy, unlimited."""
    y, x, log_height, log_width = codes.unbind(-1)
    centre_y, centre_x, height, width = anchor.unbind(-1)
    y, x = y * height + centre_y, x * width + centre_x
    half_height = torch.exp(log_height) * height / 2
    half_width = torch.exp(log_width) * width / 2
    corners = (x - half_width, y - half_height, x + half_width, y + half_height)
    return torch.stack(corners, dim=-1)


class EfficientDet(nn.Module):
    """Backbone, pyramid, the two heads, and the choice of candidates."""

    def __init__(self, spec: EfficientDetSpec) -> None:
        """Build from sizes alone; weights are loaded or seeded afterwards."""
        super().__init__()
        self.spec = spec
        self.backbone = EfficientNet(spec.backbone)
        self.fpn = BiFPN(spec.backbone.features, spec.pyramid)
        self.class_net = _Head(spec.classes, spec)
        self.box_net = _Head(4, spec)

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits (N,A,classes) and box codes (N,A,4) of all anchors."""
        maps = self.fpn(self.backbone(x))
        return self.class_net(maps), self.box_net(maps)

    def forward(self, x: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the candidates, best score first.

        Args:
            x: Normalised float32 (N,3,H,W); H and W are fixed multiples of 128.
            image_size: int32 (N,2), valid (height, width).

        Returns:
            boxes float32 (N,top_k,4), xyxy in network-input pixels, cut one pixel
            beyond the valid size; scores float32 (N,top_k); labels int64 (N,top_k).

        Raises:
            GraphError: The input is too small for `top_k` candidates.
        """
        height, width = x.shape[2:]
        logits, codes = self.outputs(x)
        classes, count = self.spec.classes, self.spec.top_k
        table = anchors(self.spec.anchors, height, width).to(x.device)
        if table.shape[0] * classes < count:
            message = f"{height} x {width} pixels have fewer than {count} candidates"
            raise GraphError(f"{message}; lower top_k or enlarge the canvas")
        best, index = torch.topk(logits.flatten(1), count, dim=1)
        place = torch.div(index, classes, rounding_mode="floor")
        labels = index - place * classes
        chosen = torch.gather(codes, 1, place[:, :, None].expand(-1, -1, 4))
        own = table.index_select(0, place.flatten()).reshape(*place.shape, 4)
        boxes = clipped_boxes(_decoded(chosen, own), image_size + _MARGIN)
        return boxes, torch.sigmoid(best), labels
