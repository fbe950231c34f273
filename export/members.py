"""Read the files that a recipe names, and recognise what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from torch import Tensor

from spinert.export.architecture import CLASSIFIER, DETECTOR, Architecture
from spinert.export.checkpoints.reader import (
    Checkpoint,
    read_checkpoint,
    sha256_from_file,
)
from spinert.export.checkpoints.recognition import recognised, style_of_file
from spinert.export.checkpoints.statistics import pixel_statistics
from spinert.export.checkpoints.style import Option, Style
from spinert.export.errors import CheckpointError, RecipeError
from spinert.export.families.onnx_import import ONNX, onnx_architecture
from spinert.export.onnx_import.imported import ImportedFile
from spinert.export.onnx_import.reading import model_from_file
from spinert.export.onnx_import.running import check_weights
from spinert.export.options import checked_options
from spinert.export.recipe import MemberRecipe, Recipe
from spinert.proto import bundle_pb2 as pb

__all__ = [
    "OpenedMember",
    "OpenedRecipe",
    "network_defaults",
    "opened_recipe",
]


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
    known: Mapping[str, Architecture]
    """Every architecture: names what a file looks like that does not fit."""
    imported: ImportedFile | None = None
    """The file itself, where it is an ONNX file."""
    wrappers: tuple[str, ...] = ()
    """Keys of the file under which the tensors lay, the outermost first."""
    statistics: Mapping[str, list[float]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """Mean and deviation of pixels, where the file has them."""
    threshold: float | None = None
    """Operating point, where the file has one."""

    @property
    def approximated(self) -> dict[str, Option]:
        """The style's values of the approximating options that have another one."""
        originals = {**self.architecture.options, **self.style.options}
        return {
            name: originals[name]
            for name in sorted(self.architecture.approximations)
            if self.options[name] != originals[name]
        }

    @property
    def notes(self) -> list[str]:
        """What the file tells besides weights."""
        done = self.imported.read.notes if self.imported else ()
        return [
            *done,
            *([f"weights under {'.'.join(self.wrappers)}"] if self.wrappers else ()),
            *(
                f"pixel {name} {values} is the checkpoint's own"
                for name, values in self.statistics.items()
            ),
            *([] if self.threshold is None else [self._threshold_note()]),
        ]

    def _threshold_note(self) -> str:
        """Say what the file tells, and where a recipe would."""
        field_of_role = {
            CLASSIFIER: "bundle.decision.threshold",
            DETECTOR: "bundle.networks.detector.detection.score_floor",
        }
        stated = f"the recipe's {field_of_role[self.role]} decides"
        return f"threshold {self.threshold:g} lies beside the weights; {stated}"

    def record(self) -> pb.CheckpointRecord:
        """Return what the bundle says of this file."""
        source, is_file = self.recipe.checkpoint, self.recipe.seed is None
        return pb.CheckpointRecord(
            role=self.role,
            member=self.recipe.name,
            architecture=self.recipe.architecture,
            style=self.style.name,
            source=source.rpartition("/")[2] if is_file else source,
            sha256=self.sha256,
            notes=self.notes,
        )


@dataclass(frozen=True, kw_only=True)
class OpenedRecipe:
    """All members of a recipe, read and recognised."""

    classifiers: tuple[OpenedMember, ...]
    detector: OpenedMember

    @property
    def members(self) -> tuple[OpenedMember, ...]:
        """The classifiers, then the detector."""
        return (*self.classifiers, self.detector)

    def without_weights(self, *roles: str) -> OpenedRecipe:
        """Return all but the tensors of these roles: a detector's are 0.4 GB."""

        def emptied(member: OpenedMember) -> OpenedMember:
            return replace(member, tensors={}) if member.role in roles else member

        return OpenedRecipe(
            classifiers=tuple(emptied(member) for member in self.classifiers),
            detector=emptied(self.detector),
        )


def _architecture_of(
    member: MemberRecipe, role: str, architectures: Mapping[str, Architecture]
) -> Architecture:
    known = {name: a for name, a in architectures.items() if a.role == role}
    if member.architecture not in known:
        choices = ", ".join([*sorted(known), ONNX])
        message = (
            f"unknown {role} architecture {member.architecture!r}; one of {choices}"
        )
        raise RecipeError(message)
    return known[member.architecture]


def _options(
    member: MemberRecipe, architecture: Architecture, style: Style
) -> dict[str, Option]:
    """Merge defaults, the style's and the recipe's settings, and check them."""
    defaults = {**architecture.options, **style.options}
    limits = architecture.limits
    options = checked_options(member.options, defaults, limits, member.name)
    if conflict := architecture.conflict(options):
        raise RecipeError(f"{member.name}: {conflict}")
    return options


def _read(recipe: Recipe, member: MemberRecipe) -> tuple[Checkpoint | None, str]:
    """Return what the file holds and its SHA-256; nothing for untrained weights."""
    if member.seed is None:
        path = recipe.folder / member.checkpoint
        return read_checkpoint(path, member.wrapper), sha256_from_file(path)
    if member.wrapper is not None:
        message = "untrained weights lie in no file; remove wrapper"
        raise RecipeError(f"{member.name}: {message}")
    return None, ""


def _style(
    member: MemberRecipe,
    architecture: Architecture,
    tensors: Mapping[str, Tensor] | None,
    known: Mapping[str, Architecture],
) -> Style:
    if member.style is None:
        if tensors is None:
            return architecture.styles[0]
        try:
            return style_of_file(tensors, architecture, member.checkpoint)
        except CheckpointError as error:
            hint = recognised(tensors, known, asked=member.architecture)
            raise CheckpointError(f"{error}{hint}") from error
    styles = {style.name: style for style in architecture.styles}
    if member.style not in styles:
        names = ", ".join(sorted(styles))
        message = f"{member.name}: unknown style {member.style!r}; one of {names}"
        raise RecipeError(message)
    return styles[member.style]


def _opened_onnx(
    recipe: Recipe,
    member: MemberRecipe,
    role: str,
    architectures: Mapping[str, Architecture],
) -> OpenedMember:
    """Read an ONNX file; it has neither key layout nor hidden settings."""
    if member.seed is not None or member.style or member.wrapper or member.options:
        message = "takes a file and a [mapping]; no seed, style, wrapper or options"
        raise RecipeError(f'{member.name}: architecture "{ONNX}" {message}')
    path = recipe.folder / member.checkpoint
    where = "detector" if role == DETECTOR else f"classifier {member.name}"
    read = model_from_file(path)
    check_weights(read.model, read.name)
    file = ImportedFile(read=read, mapping=member.mapping, where=where)
    architecture = onnx_architecture(file, role)
    return OpenedMember(
        recipe=member,
        role=role,
        architecture=architecture,
        style=architecture.styles[0],
        options={},
        tensors={},
        sha256=sha256_from_file(path),
        known=architectures,
        imported=file,
    )


def _opened(
    recipe: Recipe,
    member: MemberRecipe,
    role: str,
    architectures: Mapping[str, Architecture],
) -> OpenedMember:
    if member.architecture == ONNX:
        return _opened_onnx(recipe, member, role, architectures)
    if member.mapping:
        message = f'only architecture "{ONNX}" has a mapping; remove it'
        raise RecipeError(f"{member.name}: {message}")
    architecture = _architecture_of(member, role, architectures)
    checkpoint, sha256 = _read(recipe, member)
    tensors = checkpoint.tensors if checkpoint else None
    style = _style(member, architecture, tensors, architectures)
    return OpenedMember(
        recipe=member,
        role=role,
        architecture=architecture,
        style=style,
        options=_options(member, architecture, style),
        tensors=tensors,
        sha256=sha256,
        known=architectures,
        wrappers=checkpoint.wrappers if checkpoint else (),
        threshold=checkpoint.threshold if checkpoint else None,
        statistics=pixel_statistics(tensors or {}, style, member.checkpoint),
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
    if recipe.detector.architecture != ONNX:
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
