"""Parsed TOML tables to frozen dataclasses: every key known and of the right type."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from spinert.runtime.errors import ConfigError, Reason

__all__ = ["built", "require"]

T = TypeVar("T")


def require(holds: bool, message: str) -> None:
    """Do nothing if `holds`.

    Raises:
        ConfigError: It does not; says `message`.
    """
    if not holds:
        raise ConfigError(Reason.CONFIG_INVALID, message)


def built(cls: type[T], table: dict[str, Any], where: str) -> T:
    """Build dataclass `cls` from a parsed table; `where` names it in messages.

    Raises:
        ConfigError: A key is not a field, or a value is not of the field's type.
    """
    hints = get_type_hints(cls)
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    if unknown := sorted(table.keys() - set(known)):
        raise ConfigError(
            Reason.CONFIG_INVALID,
            f"{where}: unknown key {unknown[0]!r}; expected one of {sorted(known)}",
        )
    return cls(**{k: _value(hints[k], v, f"{where}: {k}") for k, v in table.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        require(isinstance(value, dict), f"{where} must be a table")
        return built(hint, value, where)
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        fits = isinstance(value, list) and all(type(v) is item for v in value)
        require(fits, f"{where} must be a list of {item.__name__}")
        return tuple(value)
    if hint is float and type(value) is int:
        return float(value)
    require(type(value) is hint, f"{where} must be of type {hint.__name__}")
    return value
