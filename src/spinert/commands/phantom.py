"""`spinert phantom`: a data set with known truth, from a seed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

    from spinert.phantom.table import ImageTruth

__all__ = ["phantom"]


@click.command()
@click.option("-n", "--count", type=click.IntRange(1), required=True, help="Images.")
@click.option(
    "-o",
    "--output",
    "directory",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the data set, laid out as VinDr-SpineXR.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--split", default="test", show_default=True, help="train, test ...")
@click.option("--jobs", type=click.IntRange(1), help="Processes. [default: all cores]")
@click.option(
    "--long-edge",
    "long_edge_px",
    type=click.IntRange(256, 8192),
    help="Pixels of the longer edge. [default: varied]",
)
@click.option(
    "--compress",
    "compression",
    type=click.Choice(["jpeg-lossless", "jpeg-ls", "j2k", "rle"]),
    help="Losslessly. [default: no compression]",
)
def phantom(jobs: int | None, **order: Any) -> None:
    """Write radiographs of a digital spine phantom, with their truth.

    DICOM files, and tables of findings and vertebrae beside them. The same seed gives
    the same files. A broken-off command goes on when it is given again.
    """
    from spinert.phantom.writing import PhantomOrder, write_phantoms
    from spinert.runtime.report.progress import console, count_progress

    wanted = PhantomOrder(jobs=jobs or len(os.sched_getaffinity(0)), **order)
    with count_progress(console(stderr=True), "drawing", wanted.count) as done:
        truths = write_phantoms(wanted, done)
    told = console()
    told.print(_labels_table(truths))
    tables = wanted.directory / "annotations"
    told.print(f"{wanted.count} images written to {wanted.directory}, tables: {tables}")


def _labels_table(truths: Sequence[ImageTruth]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from spinert.phantom.table import label_counts

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("label")
    for heading in ("images", "share", "boxes"):
        table.add_column(heading, justify="right")
    for entry in label_counts(truths):
        share = f"{entry.images / len(truths):.0%}"
        boxes = str(entry.boxes) if entry.boxes else "-"
        table.add_row(entry.label, str(entry.images), share, boxes)
    return table
