"""From a recipe's member to a network with its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from spinert.export.architectures import Architecture
from spinert.export.checkpoints.mapping import (
    load_strictly,
    own_keys,
    own_tensors,
    style_from_tensors,
)
from spinert.export.checkpoints.reader import read_tensors, sha256_from_file
from spinert.export.checkpoints.styles import Option, Style
from spinert.export.errors import RecipeError
from spinert.export.recipe import MemberRecipe, Recipe
from spinert.export.untrained import Calibration
from spinert.proto import bundle_pb2 as pb

__all__ = ["Member", "architecture_of", "loaded_member"]


@dataclass(frozen=True, kw_only=True)
class Member:
    """A loaded network and what to say about it."""

    network: nn.Module
    options: Mapping[str, Option]
    record: pb.CheckpointRecord


def architecture_of(
    member: MemberRecipe, role: str, architectures: Mapping[str, Architecture]
) -> Architecture:
    """Return the architecture a member names.

    Raises:
        RecipeError: There is none of this name and role.
    """
    known = {name: a for name, a in architectures.items() if a.role == role}
    if member.architecture not in known:
        choices = ", ".join(sorted(known))
        message = (
            f"unknown {role} architecture {member.architecture!r}; one of {choices}"
        )
        raise RecipeError(message)
    return known[member.architecture]


def _options(
    member: MemberRecipe, architecture: Architecture, style: Style
) -> dict[str, Option]:
    """Merge defaults, the style's and the recipe's settings, strictly typed."""
    options = {**architecture.options, **style.options}
    for key, value in member.options.items():
        if key not in options:
            known = ", ".join(sorted(options))
            raise RecipeError(f"{member.name}: no option {key!r}; one of {known}")
        kind = type(options[key])
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            message = f"{member.name}: option {key!r} must be of type {kind.__name__}"
            raise RecipeError(message)
        if kind is not bool and value < 0:
            raise RecipeError(f"{member.name}: option {key!r} must not be negative")
        options[key] = value
    return options


def _named_style(
    member: MemberRecipe, architecture: Architecture, tensors: Mapping[str, Tensor]
) -> Style:
    if member.style is None:
        return style_from_tensors(tensors, architecture.styles, member.checkpoint)
    styles = {style.name: style for style in architecture.styles}
    if member.style not in styles:
        known = ", ".join(sorted(styles))
        message = f"{member.name}: unknown style {member.style!r}; one of {known}"
        raise RecipeError(message)
    return styles[member.style]


def _seeded_tensors(
    member: MemberRecipe,
    architecture: Architecture,
    classes: int,
    calibration: Calibration,
) -> dict[str, Tensor]:
    """Return untrained weights, spelled as the architecture's first style spells."""
    style = architecture.styles[0]
    options = _options(member, architecture, style)
    network = architecture.build(options, classes)
    architecture.calibrate(network, calibration)
    state = network.state_dict()
    return {style.source_key(key): state[key].clone() for key in own_keys(network)}


def loaded_member(
    recipe: Recipe,
    member: MemberRecipe,
    architecture: Architecture,
    *,
    classes: int,
    calibration: Callable[[int], Calibration],
) -> Member:
    """Read, map and load one member's weights.

    Untrained weights take the same way as a file's: they are made as a state dict in
    the official key layout, then mapped and loaded strictly.

    Args:
        recipe: Gives the folder that checkpoint paths are relative to.
        member: Which weights.
        architecture: How to build the network.
        classes: Of the bundle; a detector has one score for each.
        calibration: Makes the calibration of untrained weights from a seed.

    Raises:
        CheckpointError: The file cannot be read or does not fit.
        RecipeError: An option or style does not exist.
    """
    seed, sha256 = member.seed, ""
    if seed is None:
        path = recipe.folder / member.checkpoint
        tensors = read_tensors(path, member.wrapper)
        sha256 = sha256_from_file(path)
    else:
        made = calibration(seed)
        tensors = _seeded_tensors(member, architecture, classes, made)
    style = _named_style(member, architecture, tensors)
    options = _options(member, architecture, style)
    network = architecture.build(options, classes)
    own = own_tensors(tensors, network, style, member.checkpoint)
    load_strictly(network, architecture.adapt(own), style, member.checkpoint)
    record = pb.CheckpointRecord(
        member=member.name,
        architecture=member.architecture,
        style=style.name,
        source=member.checkpoint if seed is not None else path.name,
        sha256=sha256,
    )
    return Member(network=network.eval(), options=options, record=record)
