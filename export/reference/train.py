"""Train a reference network: `python -m spinert.export.reference.train --help`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click
import torch

from spinert.export.reference.console import run
from spinert.export.reference.orders import Order, Pace
from spinert.export.reference.running import train
from spinert.export.reference.settings import RECIPE, settings_from_toml
from spinert.export.reference.stopping import stopped_by_signals

__all__ = ["main"]

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--network", required=True, help="densenet121 or efficientdet_d0.")
@click.option("--data", type=_FOLDER, required=True, help="Rendered splits.")
@click.option("--output", type=_FOLDER, required=True, help="Checkpoint, log, weights.")
@click.option("--recipe", type=_FILE, default=RECIPE, help="Training recipe (TOML).")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu")
@click.option("--threads", type=click.IntRange(1), help="Of the CPU.")
@click.option("--steps", type=click.IntRange(1), help="End after so many in all.")
@click.option("--minutes", type=float, default=math.inf, help="End after so long.")
@click.option("--validate-every", type=click.IntRange(1), default=500)
@click.option("--save-every-minutes", type=float, default=5.0)
@click.option("--initial", type=_FILE, help="Stored weights to begin with.")
@click.option(
    "--compile", "compiled", is_flag=True, help="Compile first; pays on GPUs."
)
def command(
    network: str,
    data: Path,
    output: Path,
    recipe: Path,
    threads: int | None,
    **how: Any,
) -> None:
    """Train on phantoms; run again to go on where it was stopped.

    Ends cleanly, with a checkpoint, on SIGINT, SIGTERM and when time is up.
    """
    device, initial, compiled = (how.pop(n) for n in ("device", "initial", "compiled"))
    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("no CUDA device is visible; use --device cpu")
    torch.backends.cudnn.benchmark = True  # a stage's inputs are all of one size
    if threads is not None:
        torch.set_num_threads(threads)
    order = Order(
        name=network,
        settings=settings_from_toml(recipe),
        data=data,
        output=output,
        device=torch.device(device),
        pace=Pace(**how),
        initial=initial,
        compiled=compiled,
    )
    with stopped_by_signals() as stop:
        outcome = train(order, stop, click.echo)
    where = "complete" if outcome.is_complete else "stopped; run again to go on"
    click.echo(f"step {outcome.step} of {outcome.steps}: {where}")


def main() -> None:
    """Run the command."""
    run(command)


if __name__ == "__main__":
    main()
