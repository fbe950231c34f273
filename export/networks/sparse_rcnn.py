"""Sparse R-CNN (Sun et al., CVPR 2021, arXiv 2011.12450).

A learned set of boxes and features is refined by a series of stages; there are no
anchors and no NMS inside. Modules are named as in PeizeSun/SparseR-CNN, from which
the VinDr-SpineXR detector takes its head unchanged, so that checkpoints load under
their own keys.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from spinert.export.networks.box_coding import moved_boxes
from spinert.export.networks.detector import candidates_from_classes
from spinert.export.networks.resnet_fpn import ResNetFPN, ResNetSpec
from spinert.export.networks.roi_align import Pyramid, RoiAlignSpec, roi_align

__all__ = ["SparseRCNN", "SparseRCNNSpec", "Stage"]

_DELTA_WEIGHTS = (2.0, 2.0, 1.0, 1.0)
_LOG_SCALE_LIMIT = math.log(100000.0 / 16)


@dataclass(frozen=True, kw_only=True)
class SparseRCNNSpec:
    """Sizes of the detector; the defaults are the official configuration."""

    backbone: ResNetSpec = field(default_factory=ResNetSpec)
    roi: RoiAlignSpec = field(default_factory=RoiAlignSpec)
    classes: int = 7
    proposals: int = 100
    stages: int = 6
    heads: int = 8
    dynamic: int = 64
    """Inner width of the dynamic convolution."""
    feedforward: int = 2048

    @property
    def width(self) -> int:
        """Channels of the pyramid and of a proposal's feature."""
        return self.backbone.pyramid


class _SelfAttention(nn.Module):
    """Multi-head attention between the proposals of one image."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor) -> Tensor:
        n, k, width = x.shape
        qkv = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        qkv = qkv.reshape(n, k, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        query = query * (width // self.heads) ** -0.5
        share = torch.softmax(query @ key.transpose(2, 3), dim=-1)
        return self.out_proj((share @ value).transpose(1, 2).reshape(n, k, width))


class _DynamicConv(nn.Module):
    """Filter a RoI with weights made from its proposal's feature (section 3.2)."""

    def __init__(self, width: int, inner: int, bins: int) -> None:
        super().__init__()
        self.inner = inner
        self.dynamic_layer = nn.Linear(width, 2 * width * inner)
        self.norm1 = nn.LayerNorm(inner)
        self.norm2 = nn.LayerNorm(width)
        self.out_layer = nn.Linear(bins * width, width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, feature: Tensor, roi: Tensor) -> Tensor:
        width, inner = feature.shape[1], self.inner
        weights = self.dynamic_layer(feature)
        first = weights[:, : width * inner].reshape(-1, width, inner)
        second = weights[:, width * inner :].reshape(-1, inner, width)
        x = functional.relu(self.norm1(torch.bmm(roi, first)))
        x = functional.relu(self.norm2(torch.bmm(x, second)))
        return functional.relu(self.norm3(self.out_layer(x.flatten(1))))


def _tower(width: int, depth: int) -> nn.Sequential:
    tower = nn.Sequential()
    for _ in range(depth):
        tower.append(nn.Linear(width, width, bias=False))
        tower.append(nn.LayerNorm(width))
        tower.append(nn.ReLU())
    return tower


class Stage(nn.Module):
    """One refinement of boxes and features (RCNNHead of the official code)."""

    def __init__(self, spec: SparseRCNNSpec) -> None:
        """Build a stage; every stage has weights of its own."""
        super().__init__()
        width = spec.width
        self.roi = spec.roi
        self.self_attn = _SelfAttention(width, spec.heads)
        self.inst_interact = _DynamicConv(width, spec.dynamic, spec.roi.size**2)
        self.linear1 = nn.Linear(width, spec.feedforward)
        self.linear2 = nn.Linear(spec.feedforward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.cls_module = _tower(width, 1)
        self.reg_module = _tower(width, 3)
        self.class_logits = nn.Linear(width, spec.classes)
        self.bboxes_delta = nn.Linear(width, 4)

    def interact(self, pyramid: Pyramid, boxes: Tensor, features: Tensor) -> Tensor:
        """Return the new features float32 (N,K,C) of boxes (N,K,4)."""
        shape = features.shape
        roi = roi_align(pyramid, boxes, self.roi)
        x = self.norm1(features + self.self_attn(features)).reshape(-1, shape[2])
        x = self.norm2(x + self.inst_interact(x, roi))
        x = self.norm3(x + self.linear2(functional.relu(self.linear1(x))))
        return x.reshape(shape)

    def refine(self, boxes: Tensor, features: Tensor) -> Tensor:
        """Return boxes (N,K,4) moved by what their new features say; not clipped."""
        deltas = self.bboxes_delta(self.reg_module(features))
        return moved_boxes(boxes, deltas, _DELTA_WEIGHTS, _LOG_SCALE_LIMIT)

    def classify(self, features: Tensor) -> Tensor:
        """Return class logits float32 (N,K,classes)."""
        return self.class_logits(self.cls_module(features))


class SparseRCNN(nn.Module):
    """The detector from normalised image to boxes and class logits."""

    def __init__(self, spec: SparseRCNNSpec) -> None:
        """Build the network."""
        super().__init__()
        self.spec = spec
        self.backbone = ResNetFPN(spec.backbone)
        self.init_proposal_features = nn.Embedding(spec.proposals, spec.width)
        self.init_proposal_boxes = nn.Embedding(spec.proposals, 4)
        stages = nn.ModuleList(Stage(spec) for _ in range(spec.stages))
        self.head = nn.ModuleDict({"head_series": stages})

    @property
    def stages(self) -> nn.ModuleList:
        """The refinements, in order."""
        return self.head["head_series"]

    def proposals(self, image_size: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first boxes (N,K,4) and features (N,K,C).

        Args:
            image_size: int32 (N,2), (height, width) without padding: the learned
                boxes are fractions of it.
        """
        n = image_size.shape[0]
        learned = self.init_proposal_boxes.weight
        centres, edges = learned[:, :2], learned[:, 2:]
        unit = torch.cat((centres - 0.5 * edges, centres + 0.5 * edges), dim=1)
        width_height = image_size.to(torch.float32).flip(1)
        boxes = unit[None] * torch.cat((width_height, width_height), dim=1)[:, None]
        features = self.init_proposal_features.weight[None].expand(n, -1, -1)
        return boxes, features

    def refined(self, x: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes float32 (N,K,4) and logits (N,K,classes) of the last stage.

        Args:
            x: Normalised and filled, float32 (N,3,H,W), multiples of 32.
            image_size: int32 (N,2), valid (height, width).
        """
        pyramid = Pyramid.from_levels(self.backbone(x))
        boxes, features = self.proposals(image_size)
        for stage in self.stages:
            features = stage.interact(pyramid, boxes, features)
            boxes = stage.refine(boxes, features)
        return boxes, self.stages[-1].classify(features)

    def forward(self, x: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return every class of every proposal as a candidate (SparseRCNN.inference).

        Args:
            x: Normalised and filled, float32 (N,3,H,W), multiples of 32.
            image_size: int32 (N,2), valid (height, width).

        Returns:
            boxes float32 (N,A,4), scores float32 (N,A), labels int64 (N,A), with
            A = proposals * classes.
        """
        boxes, logits = self.refined(x, image_size)
        return candidates_from_classes(boxes, torch.sigmoid(logits))
