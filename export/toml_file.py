"""TOML as people write it: recipes."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinert.export.errors import RecipeError

__all__ = ["TomlFile", "toml_file"]


@dataclass(frozen=True, kw_only=True)
class TomlFile:
    """What a file says, and which bytes said it."""

    values: dict[str, Any]
    sha256: str


def toml_file(path: Path) -> TomlFile:
    """Read a file.

    Raises:
        RecipeError: It is missing or not TOML.
    """
    try:
        content = path.read_bytes()
        values = tomllib.loads(content.decode())
    except OSError as error:
        raise RecipeError(f"{path.name}: cannot be read; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path.name}: not TOML: {error}") from error
    return TomlFile(values=values, sha256=hashlib.sha256(content).hexdigest())
