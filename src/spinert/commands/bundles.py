"""`spinert export`, `inspect`, `verify` and `build`: bundles and their engines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from spinert.commands.common import OUTPUT_FILE, PATH, console, settings_from_option

__all__ = ["build", "export", "inspect", "verify"]


@click.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=PATH, required=True, help="Bundle to write.")
@click.option("--replace", is_flag=True, help="Replace an existing bundle.")
@click.option(
    "--cache",
    "cache_directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keeps converted networks. [default: $XDG_CACHE_HOME/spinert/export]",
)
@click.option("--no-cache", is_flag=True, help="Convert every network again.")
def export(
    recipe: Path,
    output: Path,
    replace: bool,
    cache_directory: Path | None,
    no_cache: bool,
) -> None:
    """Turn the checkpoints named in RECIPE into a bundle."""
    if no_cache and cache_directory is not None:
        raise click.UsageError("give either --cache or --no-cache")
    from rich.text import Text

    from spinert.export.cache import ExportCache, default_cache_directory
    from spinert.export.pipeline import Resources, export_bundle
    from spinert.runtime.report.deviations import lines_from_deviations
    from spinert.runtime.report.progress import stage_progress

    directory = cache_directory or default_cache_directory()
    cache = None if no_cache else ExportCache(directory)
    resources = Resources(cache=cache, workers=len(os.sched_getaffinity(0)))
    with stage_progress(console(stderr=True)) as progress:
        bundle = export_bundle(
            recipe, output, progress, replace=replace, resources=resources
        )
    for line in lines_from_deviations(bundle):
        console().print(Text(line, style="yellow"))
    console().print(f"bundle written to {output}; see `spinert inspect`")


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="The manifest as JSON.")
def inspect(bundle: Path, as_json: bool) -> None:
    """Show what BUNDLE holds and how it decides."""
    from spinert.proto.bundle_directory import MANIFEST
    from spinert.runtime.bundle import load_bundle

    loaded = load_bundle(bundle, check_hashes=False)
    if as_json:
        click.echo((bundle / MANIFEST).read_text(), nl=False)
        return
    from spinert.runtime.report.manifest import manifest_view

    console().print(manifest_view(loaded))


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--config", type=PATH, help="Settings of the server (TOML).")
@click.option("--backend", help="Overrides the settings. [default: onnxruntime]")
@click.option("--threads", type=int, help="Of one network; overrides the settings.")
@click.option(
    "--precision", type=click.Choice(["bf16", "fp16", "fp32"]), help="Likewise."
)
@click.option("--max-batch", type=click.IntRange(1), help="Likewise.")
@click.option(
    "--report", type=OUTPUT_FILE, help="Write an HTML page that shows it all."
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def verify(
    bundle: Path,
    config: Path | None,
    report: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Check hashes and schema of BUNDLE and run the gate.

    Use the settings of the server: it finds the certificate and starts at once.
    """
    from spinert.runtime.report import verify as verifying
    from spinert.runtime.report.verification_page import require_place, write_page

    if report is not None:
        require_place(report)
    overrides = verifying.VerifyFlags(**flags)
    settings = verifying.settings_from_flags(overrides, settings_from_option(config))
    found = verifying.verify_bundle(bundle, settings, console(stderr=True))
    if as_json:
        click.echo(verifying.json_from_verification(found))
    else:
        for table in verifying.tables_from_verification(found):
            console().print(table)
    if report is not None:
        write_page(report, found)
    found.require_passed()


@click.command()
@click.argument("bundle", type=PATH)
@click.option(
    "--target", type=click.Choice(["tensorrt", "tensorrt-rtx"]), required=True
)
@click.option("--sm", help="GPUs to build for, e.g. 80,86,89,120; tensorrt-rtx only.")
@click.option("--max-batch", type=click.IntRange(1), help="Overrides the settings.")
@click.option(
    "--precision",
    type=click.Choice(["fp16", "fp32"]),
    help="Overrides the settings. [default: fp16]",
)
@click.option("--optimization-level", type=int, help="0 to 5; overrides the settings.")
@click.option("--strip-weights", is_flag=True, help="Smaller engines; tensorrt only.")
@click.option("--cache", type=PATH, help="Of engines; overrides the settings.")
@click.option("--config", type=PATH, help="Settings of the server (TOML).")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def build(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Compile the networks of BUNDLE into engines, where they are missing.

    tensorrt builds for the GPU of this machine. tensorrt-rtx builds for any, on any
    machine. Use the settings of the server, and it finds the engines.
    """
    from spinert.runtime.report import build as report

    order = report.order_from_flags(
        report.BuildFlags(**flags), settings_from_option(config)
    )
    engines = report.build_engines(order, console(stderr=True))
    if as_json:
        click.echo(report.json_from_engines(engines))
    else:
        console().print(report.engines_table(engines))
