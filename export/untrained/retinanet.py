"""Untrained weights of a RetinaNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from spinert.export.networks.retinanet import RetinaNet
from spinert.export.untrained.calibration import (
    Calibration,
    measure_norms,
    standardise_maps,
    values_on_maps,
    vary_channels,
)

__all__ = ["calibrate_retinanet"]

# A trained RetinaNet is sure of nearly all anchors: almost every score is close to 0.
# These leave fewer than `top_k` scores of a level above the floor of 0.05, so that it
# does not matter which of two almost equal ones comes last. Frames differ tenfold,
# but for group normalisation, which takes out their contrast.
_LOGIT_STD: Final = 2.2
_SHARE_ABOVE_HALF: Final = 0.002
_LOCAL: Final = 0.8
_SHARE_WITH_GROUPS: Final = 0.02
# Anchors are up to 800 pixels long: larger deltas would make pixels of roundings.
_DELTA_STD: Final = (0.06, 0.06, 0.03, 0.03)
# Coarse levels have few anchors. Stronger features give them their share of high
# scores, so that a mistake in P6 or P7 shows in the answer.
_LEVEL_STD: Final = (1.0, 1.2, 1.5, 1.9, 2.6)


def _scale(conv: nn.Conv2d, maps: Sequence[Tensor], deviation: float = 1.0) -> None:
    """Scale a convolution to outputs of this deviation; channels keep their ratios."""
    factor = deviation / values_on_maps(conv, maps).std()
    conv.weight.mul_(factor)
    conv.bias.mul_(factor)


def _settle_levels(network: RetinaNet, images: Tensor) -> None:
    """Bring each level to its deviation."""
    backbone = network.backbone
    stages = backbone.stages(images)
    for level, deviation in zip(backbone.levels, _LEVEL_STD, strict=False):
        output = getattr(backbone, f"fpn_output{level}")
        place = level - backbone.levels[0]
        factor = deviation / backbone.pyramid(stages)[place].std()
        output.weight.mul_(factor)
        output.bias.mul_(factor)
    p5 = backbone.pyramid(stages)[-1]
    p6, p7 = backbone.top_block["p6"], backbone.top_block["p7"]
    source = p5 if network.spec.p6_from_p5 else stages[-1]
    _scale(p6, [source], _LEVEL_STD[-2])
    _scale(p7, [functional.relu(p6(source))], _LEVEL_STD[-1])


def _make_local(tower: nn.Sequential) -> None:
    """Let a tower see little of brightness, which differs between frames.

    Without any of it, contrast would be a small difference of large roundings.
    """
    first = tower[0]
    first.weight.sub_(_LOCAL * first.weight.mean(dim=(2, 3), keepdim=True))
    if first.bias is not None:
        first.bias.zero_()


def _settle_tower(tower: nn.Sequential, maps: list[Tensor]) -> list[Tensor]:
    """Scale each layer; return what the tower makes of the maps."""
    _make_local(tower)
    for layer in tower:
        if isinstance(layer, nn.Conv2d) and isinstance(layer.norm, nn.Identity):
            _scale(layer, maps)
        maps = [layer(level) for level in maps]
    return maps


def _seed_group_norms(network: nn.Module, generator: Generator) -> None:
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.weight.normal_(1.0, 0.1, generator=generator)
            module.bias.normal_(0.0, 0.1, generator=generator)


def _threshold_logits(network: RetinaNet, maps: list[Tensor]) -> None:
    """Lower all logits until a fixed share of the candidates scores above 0.5."""
    score = network.head.cls_score
    logits = torch.cat([score(level).flatten() for level in maps])
    share = _SHARE_WITH_GROUPS if network.spec.head_groups else _SHARE_ABOVE_HALF
    wanted = max(1, round(share * network.spec.candidates * maps[0].shape[0]))
    # Between two candidates: a score of exactly 0.5 would flip with any rounding.
    best = torch.topk(logits, wanted + 1).values
    score.bias.sub_(best[-2:].mean())


@torch.no_grad()
def calibrate_retinanet(network: nn.Module, calibration: Calibration) -> None:
    """Seed a `RetinaNet`; boxes of all sizes, a few of its scores lie above 0.5."""
    if not isinstance(network, RetinaNet):
        raise TypeError(f"a RetinaNet is calibrated here, not {type(network).__name__}")
    generator = Generator().manual_seed(calibration.seed)
    vary_channels(network, generator)
    _seed_group_norms(network, generator)
    measure_norms(network, network.backbone, calibration.images)
    _settle_levels(network, calibration.images)
    maps = network.backbone(calibration.images)
    head = network.head
    boxes = _settle_tower(head.bbox_subnet, maps)
    deviations = torch.tensor(_DELTA_STD).repeat(network.spec.anchors.per_cell)
    standardise_maps(head.bbox_pred, boxes, deviations)
    scores = _settle_tower(head.cls_subnet, maps)
    count = head.cls_score.out_channels
    standardise_maps(head.cls_score, scores, torch.full((count,), _LOGIT_STD))
    _threshold_logits(network, scores)
