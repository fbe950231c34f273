"""A recipe: which checkpoints become which bundle, and by whose rules. TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from spinert.export.checkpoints.reader import WRAPPERS
from spinert.export.checkpoints.style import Option
from spinert.export.errors import RecipeError
from spinert.export.toml_file import toml_file

__all__ = [
    "PRECISIONS",
    "GoldenRecipe",
    "MemberRecipe",
    "Recipe",
    "recipe_from_toml",
]

PRECISIONS = ("fp32", "fp16")

_UNTRAINED = "untrained:"
_SEED_LIMIT = 2**32
_EDGE_RANGE_PX = range(16, 4097)
_BATCH_RANGE = range(1, 65)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class MemberRecipe:
    """One network and where its weights are."""

    name: str
    architecture: str
    checkpoint: str
    """Path relative to the recipe, or `untrained:SEED`."""
    style: str | None
    """Key layout; None: recognised by its keys."""
    wrapper: str | None
    """Key that holds the weights, where a file has several."""
    options: Mapping[str, Option]
    mapping: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Of architecture "onnx": what the file's inputs and outputs mean."""

    @property
    def seed(self) -> int | None:
        """The seed of untrained weights; None for a file."""
        if not self.checkpoint.startswith(_UNTRAINED):
            return None
        text = self.checkpoint.removeprefix(_UNTRAINED)
        if not text.isascii() or not text.isdecimal() or int(text) >= _SEED_LIMIT:
            message = f"{self.name}: {self.checkpoint!r}: write untrained:SEED, e.g. :1"
            raise RecipeError(message)
        return int(text)


GOLDEN_IMAGES: Final = ("patterns", "phantoms")
"""Patterns exercise any weights; phantoms suit weights that have learnt anatomy, and
answer what they never saw with numbers no radiograph would bring about."""


@dataclass(frozen=True, kw_only=True)
class GoldenRecipe:
    """The synthetic frames that every conversion is checked with."""

    sizes: tuple[tuple[int, int], ...] = (
        (512, 408),
        (512, 408),
        (512, 408),
        (408, 512),
    )
    """(Rows, columns) of each frame; at least three frames."""
    batch_sizes: tuple[int, ...] = (1, 2, 5)
    seed: int = 1
    images: str = "patterns"
    """What is drawn, one of GOLDEN_IMAGES."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A parsed recipe; names are checked where they are used."""

    folder: Path
    sha256: str
    name: str
    version: str
    preset: str
    classifiers: tuple[MemberRecipe, ...]
    detector: MemberRecipe
    golden: GoldenRecipe
    overrides: Mapping[str, Any]
    """Protobuf JSON merged over the preset's `Bundle`."""
    precisions: tuple[str, ...] = PRECISIONS
    """Of the graphs in the bundle; float32 is always among them."""


class _Table:
    """A TOML table whose keys are all accounted for."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, dict):
            raise RecipeError(f"{where}: must be a table")
        self._values = dict(values)
        self.where = where

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        value = self._values.pop(key, default)
        if value is None:
            raise RecipeError(f"{self.where}: {key!r} is missing")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise RecipeError(f"{self.where}: {key!r} must be of type {kind.__name__}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self.take(key, str, default)
        if not value:
            raise RecipeError(f"{self.where}: {key!r} is empty")
        return value

    def maybe_text(self, key: str) -> str | None:
        return self.text(key) if key in self._values else None

    def close(self) -> None:
        if self._values:
            unknown = ", ".join(sorted(self._values))
            raise RecipeError(f"{self.where}: unknown keys: {unknown}; remove them")


def _member(values: object, where: str) -> MemberRecipe:
    table = _Table(values, where)
    architecture = table.text("architecture")
    options = table.take("options", dict, {})
    wrong = [k for k, v in options.items() if not isinstance(v, Option)]
    if wrong:
        message = f"{wrong[0]!r} must be a number, boolean or text"
        raise RecipeError(f"{where}.options: {message}")
    member = MemberRecipe(
        name=table.text("name", architecture),
        architecture=architecture,
        checkpoint=table.text("checkpoint"),
        style=table.maybe_text("style"),
        wrapper=table.maybe_text("wrapper"),
        options=options,
        mapping=table.take("mapping", dict, {}),
    )
    table.close()
    if member.wrapper is not None and member.wrapper not in WRAPPERS:
        raise RecipeError(f"{where}: wrapper is one of {', '.join(WRAPPERS)}")
    return member


def _classifiers(values: list[object]) -> tuple[MemberRecipe, ...]:
    members = tuple(_member(v, f"classifier {i}") for i, v in enumerate(values, 1))
    if not members:
        raise RecipeError("at least one [[classifier]] is needed")
    names = [member.name for member in members]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        message = f"classifiers share the name {repeated[0]!r}; give each a name = ..."
        raise RecipeError(message)
    return members


def _is_size(size: object) -> bool:
    return (
        isinstance(size, list)
        and len(size) == 2
        and all(type(n) is int and n in _EDGE_RANGE_PX for n in size)
    )


def _golden(values: object) -> GoldenRecipe:
    table = _Table(values, "golden")
    default = GoldenRecipe()
    sizes = table.take("sizes", list, [list(size) for size in default.sizes])
    batches = table.take("batch_sizes", list, list(default.batch_sizes))
    seed = table.take("seed", int, default.seed)
    images = table.take("images", str, default.images)
    table.close()
    if images not in GOLDEN_IMAGES:
        raise RecipeError(f"golden: images is one of {', '.join(GOLDEN_IMAGES)}")
    if len(sizes) < 3 or not all(_is_size(size) for size in sizes):
        raise RecipeError("golden: sizes is a list of three or more [rows, columns]")
    if not batches or not all(type(n) is int and n in _BATCH_RANGE for n in batches):
        raise RecipeError("golden: batch_sizes is a list of sizes from 1 to 64")
    if seed not in range(_SEED_LIMIT):
        raise RecipeError("golden: seed is a number from 0 to 2**32 - 1")
    return GoldenRecipe(
        sizes=tuple((rows, columns) for rows, columns in sizes),
        batch_sizes=tuple(sorted(set(batches))),
        seed=seed,
        images=images,
    )


def _precisions(values: list[object]) -> tuple[str, ...]:
    if "fp32" not in values or any(value not in PRECISIONS for value in values):
        message = 'precisions is ["fp32"] or ["fp32", "fp16"]'
        raise RecipeError(message)
    return tuple(name for name in PRECISIONS if name in values)


def recipe_from_toml(path: Path) -> Recipe:
    """Read and check a recipe.

    Keys: `name`, `version`, `preset`, `precisions`; `[[classifier]]` and
    `[detector]` with `architecture`, `checkpoint` and optionally `name`, `style`,
    `wrapper`, `[options]`, `[mapping]`; `[golden]` with `sizes`, `batch_sizes`, `seed`,
    `images`; `[bundle]`, merged over the preset as protobuf JSON of
    `spinert.v1.Bundle`.

    Raises:
        RecipeError: The file is missing, not TOML, or has a wrong or unknown key.
    """
    file = toml_file(path)
    table = _Table(file.values, path.name)
    recipe = Recipe(
        folder=path.resolve().parent,
        sha256=file.sha256,
        name=table.text("name"),
        version=table.text("version"),
        preset=table.text("preset"),
        classifiers=_classifiers(table.take("classifier", list, [])),
        detector=_member(table.take("detector", dict), "detector"),
        golden=_golden(table.take("golden", dict, {})),
        overrides=table.take("bundle", dict, {}),
        precisions=_precisions(table.take("precisions", list, list(PRECISIONS))),
    )
    table.close()
    return recipe
