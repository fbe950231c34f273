"""What the options of a recipe may be: settings that no weight shows.

A family states a `Limit` for every option that is not merely true or false. All are
checked while a recipe is opened, so that nothing is built of what cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from spinert.export.checkpoints.style import Option
from spinert.export.errors import RecipeError

__all__ = [
    "BN_EPS",
    "MAX_TOP_K",
    "SELECTABLE",
    "Limit",
    "between",
    "checked_options",
    "group_count",
    "one_of",
]

MAX_TOP_K: Final = 3840
"""Most that TensorRT's TopK layer selects."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Which values of one option are possible."""

    allows: Callable[[Option], bool]
    words: str
    """What is allowed, for the end of a message."""


def between(least: float, most: float, why: str = "") -> Limit:
    """Allow numbers from `least` to `most`; NaN and infinity are none of them.

    Args:
        least: Allowed too.
        most: Allowed too.
        why: What sets the limit, where that is not plain.
    """

    def allows(value: Option) -> bool:
        return not isinstance(value, str) and least <= value <= most

    words = f"from {least:g} to {most:g}"
    return Limit(allows=allows, words=f"{words}, {why}" if why else words)


def one_of(*names: str) -> Limit:
    """Allow these texts."""
    return Limit(
        allows=lambda value: value in names, words=f"one of {', '.join(names)}"
    )


def group_count(channels: int) -> Limit:
    """Allow numbers of groups that `channels` divide into, and 0: none at all.

    A channel of its own could not be normalised on a map of one cell.
    """
    most = channels // 2

    def allows(value: Option) -> bool:
        in_range = not isinstance(value, str) and 0 <= value <= most
        return in_range and (value == 0 or channels % int(value) == 0)

    return Limit(allows=allows, words=f"0, or a divisor of {channels} up to {most}")


SELECTABLE: Final = between(1, MAX_TOP_K, "the most that TensorRT's TopK selects")
"""Of boxes or scores of which the best are chosen inside the graph."""

BN_EPS: Final = between(0, 0.1)
"""Of what batch normalisation adds to a variance; 0 in old torchvision weights."""


def _fitting(value: Option, default: Option, limit: Limit | None, where: str) -> Option:
    """Return a value of its option's type and within its limit."""
    kind = type(default)
    takes = (float, int) if kind is float else (kind,)
    if type(value) not in takes:
        raise RecipeError(f"{where} = {value!r}: must be of type {kind.__name__}")
    if limit is not None and not limit.allows(value):
        raise RecipeError(f"{where} = {value!r}: {limit.words}")
    return kind(value)


def checked_options(
    given: Mapping[str, Option],
    defaults: Mapping[str, Option],
    limits: Mapping[str, Limit],
    name: str,
) -> dict[str, Option]:
    """Lay a recipe's options over the defaults.

    Args:
        given: Of the recipe.
        defaults: Of architecture and style; every option has one.
        limits: Of the options; those without are true or false.
        name: Of the member, for messages.

    Raises:
        RecipeError: An option is unknown, of another type or outside its limit.
    """
    options = dict(defaults)
    for key, value in given.items():
        if key not in options:
            known = ", ".join(sorted(options))
            raise RecipeError(f"{name}: no option {key!r}; one of {known}")
        limit = limits.get(key)
        options[key] = _fitting(value, options[key], limit, f"{name}: options.{key}")
    return options
