"""`spinert calibrate`: write threshold and band into a new version of a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

    from spinert.evaluation.calibrating import Calibrated, OperatingPoint
    from spinert.evaluation.pairs import Pairs
    from spinert.runtime.bundle import LoadedBundle

__all__ = ["calibrate"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path)


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """The command line, as far as it says what to choose on."""

    predictions: Path
    data: Path
    annotations: Path | None
    split: str
    merge: str
    allow_test_split: bool


@click.command()
@click.option("--bundle", type=_FOLDER, required=True, help="Bundle to calibrate.")
@click.option(
    "--predictions",
    type=_FILE,
    required=True,
    help="Of `spinert evaluate`: its report folder or a predictions.jsonl.",
)
@click.option("--data", type=_FOLDER, required=True, help="As in `spinert evaluate`.")
@click.option("--annotations", type=_FILE, help="As in `spinert evaluate`.")
@click.option("--split", required=True, help="What to choose on, e.g. val; never test.")
@click.option(
    "--merge", type=click.Choice(["paper", "official"]), default="paper", help="Labels."
)
@click.option("--sensitivity", type=float, default=0.95, show_default=True)
@click.option("--specificity", type=float, default=0.95, show_default=True)
@click.option("--no-band", is_flag=True, help="A threshold only, no UNCERTAIN.")
@click.option("--allow-test-split", is_flag=True, help="Choose on the test split.")
@click.option("-o", "--output", type=_FOLDER, help="New bundle. [default: only show]")
@click.option("--replace", is_flag=True, help="Replace a bundle that is there.")
def calibrate(
    bundle: Path,
    output: Path | None,
    replace: bool,
    no_band: bool,
    sensitivity: float,
    specificity: float,
    **given: Any,
) -> None:
    """Choose the threshold of BUNDLE on a split, and a band of UNCERTAIN around it.

    The threshold is Youden's. Below the band at most 5 % of the abnormal images are
    ruled out, above it at most 5 % of the normal ones are ruled in (--sensitivity,
    --specificity). The bundle itself stays as it is.
    """
    from spinert.evaluation.bootstrap import Bootstrap
    from spinert.evaluation.calibrating import Aim, calibrated
    from spinert.evaluation.subject import rules_from_bundle
    from spinert.runtime.bundle import load_bundle
    from spinert.runtime.report.progress import console

    aim = Aim(sensitivity=sensitivity, specificity=specificity, has_band=not no_band)
    loaded = load_bundle(bundle)
    evidence = _Evidence(**given)
    pairs, precision = _pairs(loaded, evidence)
    found = calibrated(pairs, rules_from_bundle(loaded), aim, Bootstrap())
    console().print(_table(found))
    if output is None:
        click.echo("nothing was written; name a bundle to write with -o")
        return
    version = _write(loaded, output, found, evidence.split, precision, replace)
    click.echo(f"bundle {version} written to {output}; evaluate it on the test split")


def _pairs(bundle: LoadedBundle, evidence: _Evidence) -> tuple[Pairs, str]:
    """Return the images of the split with what the bundle said, and the precision."""
    from spinert.evaluation.annotations import read_annotations
    from spinert.evaluation.calibrating import require_no_test_split
    from spinert.evaluation.inputs import images_split, table_path
    from spinert.evaluation.labels import Merge
    from spinert.evaluation.stored_pairs import pairs_from_store, store_path

    data, split = evidence.data, evidence.split
    table = table_path(data, evidence.annotations, split)
    if not evidence.allow_test_split:
        require_no_test_split(split, table.stem)
    classes = [entry.name for entry in bundle.spec.classes]
    known = read_annotations(
        table,
        data,
        classes=classes,
        merge=Merge(evidence.merge),
        split=images_split(data, split),
    )
    stored = pairs_from_store(store_path(evidence.predictions), known.cases, bundle)
    if not evidence.allow_test_split:
        require_no_test_split(*stored.splits)
    for line in stored.remarks:
        click.echo(line, err=True)
    return stored.pairs, stored.precision


def _table(found: Calibrated) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"{found.images} images, {found.abnormal} abnormal")
    for name in ("before", "after"):
        table.add_column(name, justify="right")
    before, after = _cells(found.before), _cells(found.after)
    for name in before:
        table.add_row(name, before[name], after[name])
    low, high = found.threshold.low, found.threshold.high
    if low is not None and high is not None:
        table.caption = f"95 % interval of the threshold: {low:.4f} to {high:.4f}"
        table.caption_justify = "left"
    return table


def _cells(point: OperatingPoint) -> dict[str, str]:
    has_band = point.uncertain_from < point.uncertain_to
    band = f"{point.uncertain_from:.4f} to {point.uncertain_to:.4f}"
    return {
        "threshold": f"{point.threshold:.4f}",
        "UNCERTAIN": band if has_band else "no band",
        "sensitivity": f"{point.sensitivity:.4f}",
        "specificity": f"{point.specificity:.4f}",
        "images in the band": f"{point.uncertain_share:.1%}",
    }


def _write(
    bundle: LoadedBundle,
    output: Path,
    found: Calibrated,
    split: str,
    precision: str,
    replace: bool,
) -> str:
    from datetime import UTC, datetime

    from spinert import __version__
    from spinert.evaluation.calibrating import note_of
    from spinert.runtime.bundle_revision import (
        RevisionRecord,
        revised_version,
        write_revision,
    )

    now = datetime.now(UTC)
    record = RevisionRecord(
        version=revised_version(bundle.spec.version, "cal", now.date()),
        tool=f"spinert calibrate {__version__}",
        made_at=now,
        note=note_of(found, split=split, precision=precision),
    )
    write_revision(bundle, output, found.change, record, replace=replace)
    return record.version
