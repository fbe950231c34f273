"""From a recipe's member to a network with its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor, nn

from spinert.export.architecture import CLASSIFIER, DETECTOR, Architecture
from spinert.export.checkpoints.mapping import (
    load_strictly,
    own_keys,
    own_tensors,
    style_from_tensors,
)
from spinert.export.checkpoints.reader import read_tensors, sha256_from_file
from spinert.export.checkpoints.style import Option, Style
from spinert.export.errors import RecipeError
from spinert.export.recipe import MemberRecipe, Recipe
from spinert.export.untrained.calibration import Calibration
from spinert.proto import bundle_pb2 as pb

__all__ = [
    "Member",
    "OpenedMember",
    "OpenedRecipe",
    "loaded_member",
    "network_defaults",
    "opened_recipe",
]

# What detectron2 before 2021 stores of its preprocessing beside the weights.
_STATISTICS: Final = (("pixel_mean", "mean"), ("pixel_std", "std"))


@dataclass(frozen=True, kw_only=True)
class OpenedMember:
    """A member whose file has been read and recognised; nothing is built yet."""

    recipe: MemberRecipe
    role: str
    architecture: Architecture
    style: Style
    options: Mapping[str, Option]
    """Defaults, the style's and the recipe's, merged."""
    tensors: Mapping[str, Tensor] | None
    """Of the file, under its keys; None for untrained weights."""
    sha256: str
    """Of the file; empty for untrained weights."""

    @property
    def statistics(self) -> dict[str, list[float]]:
        """Mean and deviation of pixels, where the file has them."""
        found = self.tensors or {}
        return {
            name: found[key].flatten().tolist()
            for key, name in _STATISTICS
            if key in found and self.style.ignored(key)
        }

    @property
    def notes(self) -> list[str]:
        """What the file tells besides weights."""
        return [
            f"pixel {name} {values} is the checkpoint's own"
            for name, values in self.statistics.items()
        ]


@dataclass(frozen=True, kw_only=True)
class OpenedRecipe:
    """All members of a recipe, read and recognised."""

    classifiers: tuple[OpenedMember, ...]
    detector: OpenedMember

    @property
    def members(self) -> tuple[OpenedMember, ...]:
        """The classifiers, then the detector."""
        return (*self.classifiers, self.detector)


@dataclass(frozen=True, kw_only=True)
class Member:
    """A loaded network and what to say about it."""

    network: nn.Module
    options: Mapping[str, Option]
    record: pb.CheckpointRecord


def _architecture_of(
    member: MemberRecipe, role: str, architectures: Mapping[str, Architecture]
) -> Architecture:
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
        if isinstance(value, int | float) and value < 0:
            raise RecipeError(f"{member.name}: option {key!r} must not be negative")
        options[key] = value
    return options


def _style(
    member: MemberRecipe,
    architecture: Architecture,
    tensors: Mapping[str, Tensor] | None,
) -> Style:
    if member.style is None:
        if tensors is None:
            return architecture.styles[0]
        return style_from_tensors(tensors, architecture.styles, member.checkpoint)
    styles = {style.name: style for style in architecture.styles}
    if member.style not in styles:
        known = ", ".join(sorted(styles))
        message = f"{member.name}: unknown style {member.style!r}; one of {known}"
        raise RecipeError(message)
    return styles[member.style]


def _opened(
    recipe: Recipe,
    member: MemberRecipe,
    role: str,
    architectures: Mapping[str, Architecture],
) -> OpenedMember:
    architecture = _architecture_of(member, role, architectures)
    tensors, sha256 = None, ""
    if member.seed is None:
        path = recipe.folder / member.checkpoint
        tensors = read_tensors(path, member.wrapper)
        sha256 = sha256_from_file(path)
    style = _style(member, architecture, tensors)
    return OpenedMember(
        recipe=member,
        role=role,
        architecture=architecture,
        style=style,
        options=_options(member, architecture, style),
        tensors=tensors,
        sha256=sha256,
    )


def opened_recipe(
    recipe: Recipe, architectures: Mapping[str, Architecture]
) -> OpenedRecipe:
    """Read every checkpoint and recognise its key layout.

    Raises:
        CheckpointError: A file cannot be read or is of no known layout.
        RecipeError: An architecture, option or style does not exist.
    """
    # Names first: nobody wants to wait for files before a spelling mistake shows.
    _architecture_of(recipe.detector, DETECTOR, architectures)
    return OpenedRecipe(
        classifiers=tuple(
            _opened(recipe, member, CLASSIFIER, architectures)
            for member in recipe.classifiers
        ),
        detector=_opened(recipe, recipe.detector, DETECTOR, architectures),
    )


def network_defaults(opened: OpenedMember) -> dict[str, Any]:
    """Return protobuf JSON of what style and file say of the network around it."""
    defaults = dict(opened.style.network)
    if opened.statistics:
        defaults["input"] = {**defaults.get("input", {}), **opened.statistics}
    return defaults


def _seeded_tensors(
    opened: OpenedMember, classes: int, calibration: Calibration
) -> dict[str, Tensor]:
    """Return untrained weights, spelled as a file of this style would."""
    network = opened.architecture.build(opened.options, classes)
    opened.architecture.calibrate(network, calibration)
    state = network.state_dict()
    spelled = opened.style.source_key
    return {spelled(key): state[key].clone() for key in own_keys(network)}


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
        tensors = _seeded_tensors(opened, classes, calibration(seed or 0))
    network = opened.architecture.build(opened.options, classes)
    own = own_tensors(tensors, network, style, source)
    load_strictly(network, opened.architecture.adapt(own), style, source)
    record = pb.CheckpointRecord(
        role=opened.role,
        member=opened.recipe.name,
        architecture=opened.recipe.architecture,
        style=style.name,
        source=source.rpartition("/")[2] if seed is None else source,
        sha256=opened.sha256,
        notes=opened.notes,
    )
    return Member(network=network.eval(), options=opened.options, record=record)
