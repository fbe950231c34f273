"""How the commands of this folder end."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from spinert.export.errors import ExportError

__all__ = ["run"]


def run(command: Callable[[], object]) -> None:
    """Run a command; errors of ours are one line and exit code 2."""
    try:
        command()
    except ExportError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
