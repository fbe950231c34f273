"""From an opened member to a network with its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spinert.export.checkpoints.mapping import (
    check_values,
    load_strictly,
    own_keys,
    own_tensors,
)
from spinert.export.checkpoints.recognition import check_shown_options, recognised
from spinert.export.checkpoints.stored import check_anchors
from spinert.export.checkpoints.style import Option
from spinert.export.errors import CheckpointError
from spinert.export.members import OpenedMember, OpenedRecipe
from spinert.export.untrained.calibration import Calibration
from spinert.proto import bundle_pb2 as pb

__all__ = ["Member", "check_files", "loaded_member", "untrained_tensors"]


@dataclass(frozen=True, kw_only=True)
class Member:
    """A loaded network and what to say about it."""

    network: nn.Module
    options: Mapping[str, Option]
    record: pb.CheckpointRecord


def untrained_tensors(
    opened: OpenedMember, classes: int, calibration: Calibration
) -> dict[str, Tensor]:
    """Return untrained weights, spelled as a file of this style would.

    Args:
        opened: Which network; what its file holds does not count.
        classes: Of the bundle.
        calibration: Frames, by which the activations of each layer are scaled.
    """
    network = opened.architecture.build(opened.options, classes)
    opened.architecture.calibrate(network, calibration)
    state = network.state_dict()
    spelled = opened.style.source_key
    return {spelled(key): state[key].clone() for key in own_keys(network)}


def _own_tensors(
    opened: OpenedMember, tensors: Mapping[str, Tensor], network: nn.Module
) -> dict[str, Tensor]:
    """Map a file's tensors; where they do not fit, say what they would fit."""
    source, asked = opened.recipe.checkpoint, opened.recipe.architecture
    try:
        own = own_tensors(tensors, network, opened.style, source)
    except CheckpointError as error:
        hint = recognised(tensors, opened.known, asked=asked)
        raise CheckpointError(f"{error}{hint}") from error
    architecture, style, options = opened.architecture, opened.style, opened.options
    check_shown_options(own, architecture, options, source)
    check_anchors(tensors, architecture, style, options, source)
    return own


def check_files(opened: OpenedRecipe, classes: int) -> None:
    """Check that every file fits its network, before any of them is converted.

    Raises:
        CheckpointError: One does not.
        RecipeError: The settings contradict each other.
    """
    for member in opened.members:
        if member.tensors is None or member.imported is not None:
            continue
        with torch.device("meta"):
            network = member.architecture.build(member.options, classes)
        own = member.architecture.adapt(_own_tensors(member, member.tensors, network))
        check_values(network, own, member.style, member.recipe.checkpoint)


def loaded_member(
    opened: OpenedMember, *, classes: int, calibration: Callable[[int], Calibration]
) -> Member:
    """Map and load one member's weights.

    Untrained weights take the same way as a file's: they are made as a state dict in
    the file's key layout, then mapped and loaded strictly.

    Args:
        opened: Which weights.
        classes: Of the bundle; a detector has one score for each.
        calibration: Makes the calibration of untrained weights from a seed.

    Raises:
        CheckpointError: The file does not fit.
        RecipeError: The settings contradict each other.
    """
    source, style = opened.recipe.checkpoint, opened.style
    tensors, seed = opened.tensors, opened.recipe.seed
    if tensors is None:
        tensors = untrained_tensors(opened, classes, calibration(seed or 0))
    network = opened.architecture.build(opened.options, classes)
    own = _own_tensors(opened, tensors, network)
    load_strictly(network, opened.architecture.adapt(own), style, source)
    return Member(
        network=network.eval(), options=opened.options, record=opened.record()
    )
