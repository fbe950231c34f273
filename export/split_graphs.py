"""The two graphs from which a host computes a frame again.

A two-stage detector is cut where its proposals are suppressed. `spinert.runtime`
suppresses between the two, see `Split` in bundle.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from spinert.export.architecture import SplitNetwork
from spinert.export.onnx_from_torch import GraphSpec

__all__ = ["SplitGraph", "SplitModels", "split_graphs"]

_LEVELS: Final = ("p2", "p3", "p4", "p5")


@dataclass(frozen=True, kw_only=True)
class SplitGraph:
    """One half, ready for `onnx_from_torch`."""

    module: nn.Module
    example: tuple[Tensor, ...]
    spec: GraphSpec


@dataclass(frozen=True, kw_only=True)
class SplitModels:
    """Both halves as `onnx.ModelProto`."""

    cut: SplitNetwork
    proposals: Any
    regions: Any


class _ProposalGraph(nn.Module):
    """Normalise, then propose."""

    def __init__(self, grey: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.grey = grey
        self.network = network

    def forward(self, image: Tensor, image_size: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self.network(
            self.grey(image, image_size), image_size
        )
        return outputs


def split_graphs(
    split: SplitNetwork,
    grey: nn.Module,
    example: tuple[Tensor, Tensor],
    whole: GraphSpec,
) -> tuple[SplitGraph, SplitGraph]:
    """Return the graph before and the graph behind the suppression.

    Args:
        split: Of the loaded network.
        grey: The input stage of the whole graph.
        example: image and image_size of at least two frames.
        whole: Of the whole graph; its free axes and operators are theirs.

    Returns:
        `proposals`, image and image_size to p2..p5, boxes and scores; and
        `regions`, p2..p5, proposals and image_size to boxes, scores and labels.
    """
    proposals = _ProposalGraph(grey, split.proposals).eval()
    with torch.no_grad():
        *levels, boxes, _ = proposals(*example)
    n = boxes.shape[0]
    some = boxes.flatten(1, 2)[:, : split.max_proposals]
    filled = torch.zeros(n, split.max_proposals, 4)
    filled[:, : some.shape[1]] = some
    first = GraphSpec(
        inputs=whole.inputs,
        outputs=(*_LEVELS, "boxes", "scores"),
        dynamic=whole.dynamic,
    )
    axes = [_axes_of_level(whole.dynamic[0], level) for level in _LEVELS]
    second = GraphSpec(
        inputs=(*_LEVELS, "proposals", "image_size"),
        outputs=("boxes", "scores", "labels"),
        dynamic=(*axes, {0: "batch"}, {0: "batch"}),
        operators=whole.operators,
    )
    return (
        SplitGraph(module=proposals, example=example, spec=first),
        SplitGraph(
            module=split.regions.eval(),
            example=(*levels, filled, example[1]),
            spec=second,
        ),
    )


def _axes_of_level(image: Mapping[int, str], level: str) -> dict[int, str]:
    """Name the free axes of a level as the image's; each length is its own."""
    return {
        axis: name if axis == 0 else f"{name}_{level}" for axis, name in image.items()
    }
