"""What the commands share: types of options, settings, the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from rich.console import Console

    from spinert.runtime.config import Settings

__all__ = ["OUTPUT_FILE", "PATH", "console", "settings_from_option"]

PATH: Final = click.Path(path_type=Path)
OUTPUT_FILE: Final = click.Path(dir_okay=False, writable=True, path_type=Path)


def settings_from_option(config: Path | None) -> Settings:
    """Return the settings of a file, or the defaults.

    Raises:
        ConfigError: The file is not valid.
    """
    from spinert.runtime.config import Settings, settings_from_toml

    return settings_from_toml(config) if config else Settings()


def console(*, stderr: bool = False) -> Console:
    """Return a terminal as all commands use it."""
    from spinert.runtime.report.progress import console as made

    return made(stderr=stderr)
