"""TOML tables to frozen dataclasses, every key accounted for."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from spinert.export.errors import RecipeError

__all__ = ["value_from_table"]

T = TypeVar("T")


def value_from_table(kind: type[T], table: object, where: str) -> T:
    """Make a dataclass of a table; fields name its keys, their types its values.

    Fields may be numbers, booleans, texts, dataclasses, tuples of one of these, and
    mappings from text to one of these.

    Args:
        kind: The dataclass; its own checks run on construction.
        table: As `tomllib` reads it.
        where: Name of the table in messages.

    Raises:
        RecipeError: A key is missing or unknown, or a value of another type.
    """
    if not isinstance(table, dict):
        raise RecipeError(f"{where}: must be a table")
    types = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(table.keys() - fields.keys()):
        message = f"{where}: unknown keys: {', '.join(unknown)}; remove them"
        raise RecipeError(message)
    required = {name for name, field in fields.items() if _is_required(field)}
    if missing := sorted(required - table.keys()):
        raise RecipeError(f"{where}: {missing[0]!r} is missing")
    values = {
        name: _value(types[name], value, f"{where}.{name}")
        for name, value in table.items()
    }
    try:
        return kind(**values)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error


def _is_required(field: dataclasses.Field[Any]) -> bool:
    absent = dataclasses.MISSING
    return field.default is absent and field.default_factory is absent


def _value(kind: Any, value: object, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return value_from_table(kind, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list):
            raise RecipeError(f"{where}: must be a list")
        items = enumerate(value, start=1)
        return tuple(_value(arguments[0], item, f"{where} {n}") for n, item in items)
    if origin is Mapping:
        if not isinstance(value, dict):
            raise RecipeError(f"{where}: must be a table")
        entries = {k: _value(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
        return MappingProxyType(entries)
    return _plain(kind, value, where)


def _plain(kind: Any, value: object, where: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        name = getattr(kind, "__name__", "number, boolean or text")
        raise RecipeError(f"{where}: must be of type {name}")
    return value
