"""Render the training data: `python -m spinert.export.reference.render --help`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from spinert.export.reference.console import run
from spinert.export.reference.rendering import PhantomMaker, render_split
from spinert.export.reference.settings import RECIPE, settings_from_toml

__all__ = ["main"]

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _maker() -> PhantomMaker:
    from spinert.phantom.making import phantom_from_seed

    return phantom_from_seed


def _available_cores() -> int:
    return len(os.sched_getaffinity(0))


def _moving(bar: Any) -> Callable[[int], None]:
    """Return what moves a progress bar to a place."""
    return lambda done: bar.update(done - bar.pos)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--output", type=_FOLDER, required=True, help="A folder per split.")
@click.option("--recipe", type=_FILE, default=RECIPE, help="Training recipe (TOML).")
@click.option("--split", "names", multiple=True, help="Only this one; repeatable.")
@click.option("--workers", type=click.IntRange(1), help="[default: all cores]")
def command(
    output: Path, recipe: Path, names: tuple[str, ...], workers: int | None
) -> None:
    """Render phantoms as network inputs. Splits that are there are left alone."""
    data = settings_from_toml(recipe).data
    if unknown := sorted(set(names) - data.splits.keys()):
        raise click.UsageError(f"no split {unknown[0]!r} in {recipe.name}")
    for name in names or tuple(data.splits):
        split = data.splits[name]
        if (output / name).exists():
            click.echo(f"{name}: already there")
            continue
        with click.progressbar(length=split.count, label=name, show_pos=True) as bar:
            render_split(
                output / name,
                data.images,
                split,
                _maker(),
                workers=workers or _available_cores(),
                progress=_moving(bar),
            )


def main() -> None:
    """Run the command."""
    run(command)


if __name__ == "__main__":
    main()
