"""`spinert evaluate`: the paper's evaluation of a bundle on annotated radiographs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from spinert.evaluation.deciding import Choice
    from spinert.evaluation.job import Job
    from spinert.runtime.config import Settings

__all__ = ["evaluate"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_PATH = click.Path(path_type=Path)
_PRECISION = click.Choice(["bf16", "fp16", "fp32"])
_YOUDEN = "youden"


@dataclass(frozen=True, kw_only=True)
class _Flags:
    """The command line, as it was typed."""

    bundle: Path | None
    server: str | None
    data: Path
    annotations: Path | None
    split: str
    merge: str
    threshold: str | None
    config: Path | None
    backend: str | None
    precision: str | None
    threads: int | None
    compare: Path | None
    against_bundle: Path | None
    against_precision: str | None
    bootstraps: int
    predictions: Path | None
    pictures: int
    output: Path


@click.command()
@click.option("--bundle", type=_FOLDER, help="Run this bundle in this process.")
@click.option("--server", help="HOST:PORT to ask instead; --bundle may name its rules.")
@click.option(
    "--data",
    type=_FOLDER,
    required=True,
    help="Images, or a folder that holds {SPLIT}_images and annotations.",
)
@click.option(
    "--annotations",
    type=_PATH,
    help="VinDr-SpineXR CSV or COCO JSON. [default: DATA/annotations/SPLIT.csv]",
)
@click.option("--split", default="test", show_default=True)
@click.option(
    "--merge",
    type=click.Choice(["paper", "official"]),
    default="paper",
    show_default=True,
    help="How 13 labels become the bundle's: as the paper or the official code.",
)
@click.option("--threshold", help="A number or `youden`. [default: the bundle's]")
@click.option("--config", type=_PATH, help="Settings of the server (TOML).")
@click.option("--backend", help="Overrides the settings. [default: onnxruntime]")
@click.option("--precision", type=_PRECISION, help="Likewise.")
@click.option("--threads", type=int, help="Of one network; likewise.")
@click.option("--compare", type=_PATH, help="Report folder or predictions.jsonl.")
@click.option("--against-bundle", type=_FOLDER, help="Run this one too, and compare.")
@click.option("--against-precision", type=_PRECISION, help="Likewise.")
@click.option("--bootstraps", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--predictions", type=_PATH, help="[default: OUTPUT/predictions.jsonl]")
@click.option(
    "--pictures",
    type=click.IntRange(0),
    default=12,
    show_default=True,
    help="Of the worst misses; 0: the page holds no image.",
)
@click.option("-o", "--output", type=_FOLDER, required=True, help="Report to write.")
def evaluate(**given: Any) -> None:
    """Measure a bundle as the paper does: its Tables 3, 4 and 5, with intervals.

    A run that was broken off goes on where it ended. The exit code is 1 where an
    image got no answer that another run may give.
    """
    flags = _Flags(**given)
    if flags.server is None and flags.bundle is None:
        raise click.UsageError("give --bundle or --server")
    runs_another = flags.against_bundle is not None or flags.against_precision
    if flags.compare is not None and runs_another:
        raise click.UsageError("give either --compare or --against-...")
    from spinert.evaluation.job import run_job
    from spinert.runtime.report.progress import console

    report = run_job(_job(flags), console(), console(stderr=True))
    click.echo(f"report written to {flags.output / 'report.html'}")
    if not all(outcome.is_refusal for outcome in report.found.unanswered):
        sys.exit(1)


def _job(flags: _Flags) -> Job:
    from spinert.evaluation.bootstrap import Bootstrap
    from spinert.evaluation.job import Job, Rival
    from spinert.evaluation.labels import Merge

    return Job(
        bundle=flags.bundle,
        server=flags.server,
        settings=_settings(flags),
        data=flags.data,
        annotations=flags.annotations,
        split=flags.split,
        merge=Merge(flags.merge),
        choice=_choice(flags.threshold),
        bootstrap=Bootstrap(resamples=flags.bootstraps),
        rival=Rival(
            stored=flags.compare,
            bundle=flags.against_bundle,
            precision=flags.against_precision,
        ),
        predictions=flags.predictions,
        pictures=flags.pictures,
        output=flags.output,
    )


def _choice(threshold: str | None) -> Choice:
    from spinert.evaluation.deciding import Choice, ChosenBy

    if threshold is None:
        return Choice(by=ChosenBy.BUNDLE)
    if threshold == _YOUDEN:
        return Choice(by=ChosenBy.YOUDEN)
    try:
        value = float(threshold)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise click.BadParameter(
            f"--threshold is {threshold!r}; give a number from 0 to 1, or {_YOUDEN}"
        )
    return Choice(by=ChosenBy.CALLER, threshold=value)


def _settings(flags: _Flags) -> Settings:
    from spinert.runtime.config import Settings, settings_from_toml
    from spinert.runtime.report.verify import VerifyFlags, settings_from_flags

    stated = settings_from_toml(flags.config) if flags.config else Settings()
    overrides = VerifyFlags(
        backend=flags.backend, threads=flags.threads, precision=flags.precision
    )
    return settings_from_flags(overrides, stated)
