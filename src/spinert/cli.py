"""The command `spinert`: export, inspect, verify, build, serve, analyze.

Each command imports what it needs when it runs, so that `spinert --help` and a
client without torch or ONNX Runtime start at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from spinert.runtime.config import Settings

__all__ = ["main"]

_EXTRAS = {
    **dict.fromkeys(("grpc_health", "imagecodecs", "uvloop"), "cpu"),
    **dict.fromkeys(
        ("onnx", "onnxruntime", "onnxscript", "safetensors", "torch"), "cpu,export"
    ),
}
"""Packages that only some commands need, and the extras that bring them."""

_DIRECTORY = click.Path(path_type=Path)
_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)
_TARGETS = ("tensorrt", "tensorrt-rtx")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spinert")
def cli() -> None:
    """Spine X-ray networks, from checkpoint to verdict.

    Research use only: not a medical device.
    """


@cli.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=_DIRECTORY, required=True, help="Bundle to write.")
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
    from spinert.export.cache import ExportCache, default_cache_directory
    from spinert.export.pipeline import export_bundle
    from spinert.runtime.report.progress import stage_progress

    directory = cache_directory or default_cache_directory()
    cache = None if no_cache else ExportCache(directory)
    with stage_progress(_console(stderr=True)) as progress:
        export_bundle(recipe, output, progress, replace=replace, cache=cache)
    _console().print(f"bundle written to {output}; see `spinert inspect`")


@cli.command()
@click.argument("bundle", type=_DIRECTORY)
@click.option("--json", "as_json", is_flag=True, help="The manifest as JSON.")
def inspect(bundle: Path, as_json: bool) -> None:
    """Show what BUNDLE holds and how it decides."""
    from spinert.runtime.bundle import MANIFEST, load_bundle

    loaded = load_bundle(bundle, check_hashes=False)
    if as_json:
        click.echo((bundle / MANIFEST).read_text(), nl=False)
        return
    from spinert.runtime.report.manifest import manifest_view

    _console().print(manifest_view(loaded))


@cli.command()
@click.argument("bundle", type=_DIRECTORY)
@click.option("--config", type=_DIRECTORY, help="Settings of the server (TOML).")
@click.option("--backend", help="Overrides the settings. [default: onnxruntime]")
@click.option("--threads", type=int, help="Of one network; overrides the settings.")
@click.option("--precision", type=click.Choice(["fp16", "fp32"]), help="Likewise.")
@click.option("--max-batch", type=click.IntRange(1), help="Likewise.")
@click.option("--report", type=_FILE, help="Write an HTML page that shows it all.")
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
    settings = verifying.settings_from_flags(overrides, _settings(config))
    found = verifying.verify_bundle(bundle, settings, _console(stderr=True))
    if as_json:
        click.echo(verifying.json_from_verification(found))
    else:
        for table in verifying.tables_from_verification(found):
            _console().print(table)
    if report is not None:
        write_page(report, found)
    found.require_passed()


@cli.command()
@click.argument("bundle", type=_DIRECTORY)
@click.option(
    "--target", type=click.Choice(["tensorrt", "tensorrt-rtx"]), required=True
)
@click.option("--sm", help="GPUs to build for, e.g. 80,86,89,120; tensorrt-rtx only.")
@click.option("--max-batch", type=click.IntRange(1), help="Overrides the settings.")
@click.option("--precision", type=click.Choice(["fp16", "fp32"]), default="fp16")
@click.option("--optimization-level", type=int, help="0 to 5; overrides the settings.")
@click.option("--strip-weights", is_flag=True, help="Smaller engines; tensorrt only.")
@click.option("--cache", type=_DIRECTORY, help="Of engines; overrides the settings.")
@click.option("--config", type=_DIRECTORY, help="Settings of the server (TOML).")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def build(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Compile the networks of BUNDLE into engines, where they are missing.

    tensorrt builds for the GPU of this machine. tensorrt-rtx builds for any, on any
    machine. Use the settings of the server, and it finds the engines.
    """
    from spinert.runtime.report import build as report

    order = report.order_from_flags(report.BuildFlags(**flags), _settings(config))
    engines = report.build_engines(order, _console(stderr=True))
    if as_json:
        click.echo(report.json_from_engines(engines))
    else:
        _console().print(report.engines_table(engines))


@cli.command()
@click.option("--bundle", type=_DIRECTORY, required=True, help="Bundle to serve.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings (TOML).")
@click.option("--listen", help="HOST:PORT; overrides the settings.")
@click.option("--check", is_flag=True, help="Validate settings and bundle, then exit.")
@click.option("--require-certificate", is_flag=True, help="Never run the gate first.")
@click.option("--parent", type=int, hidden=True, help="Process to end with.")
def serve(
    bundle: Path,
    config: Path | None,
    listen: str | None,
    check: bool,
    require_certificate: bool,
    parent: int | None,
) -> None:
    """Serve BUNDLE over gRPC until SIGTERM."""
    import signal
    from dataclasses import replace

    settings = _settings(config)
    if listen:
        server = replace(settings.server, listen=listen)
        settings = replace(settings, server=server)
    if require_certificate:
        golden = replace(settings.golden, require_certificate=True)
        settings = replace(settings, golden=golden)
    if check:
        from spinert.runtime.bundle import load_bundle
        from spinert.runtime.engine.opening import require_backend

        loaded = load_bundle(bundle)
        require_backend(settings)
        click.echo(f"settings and bundle {loaded.spec.name} are valid")
        return
    from spinert.runtime.parent import end_with_parent
    from spinert.runtime.server.serve import serve as run

    if parent is not None:
        end_with_parent(parent, signal.SIGTERM)
    sys.exit(run(bundle, settings))


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=_DIRECTORY)
@click.option("--server", help="HOST:PORT of a running server.")
@click.option("--bundle", type=_DIRECTORY, help="Serve this bundle just for the call.")
@click.option("--json", "json_path", type=_DIRECTORY, help="Write results to a file.")
@click.option("--overlay", type=_DIRECTORY, help="Write annotated PNGs to a folder.")
def analyze(
    paths: tuple[Path, ...],
    server: str | None,
    bundle: Path | None,
    json_path: Path | None,
    overlay: Path | None,
) -> None:
    """Analyze DICOM, PNG and JPEG files or folders of them.

    The exit code is 1 where a file could not be read or got no answer.
    """
    if (server is None) == (bundle is None):
        raise click.UsageError("give either --server or --bundle")
    from spinert.runtime.report.analyze import Job, run_job
    from spinert.runtime.report.answers import FileError

    job = Job(
        paths=paths, server=server, bundle=bundle, json_path=json_path, overlay=overlay
    )
    answers = run_job(job, _console(), _console(stderr=True))
    errors = [a.outcome for a in answers if isinstance(a.outcome, FileError)]
    if not all(error.is_refusal for error in errors):
        sys.exit(1)


def _settings(config: Path | None) -> Settings:
    from spinert.runtime.config import Settings, settings_from_toml

    return settings_from_toml(config) if config else Settings()


def _console(*, stderr: bool = False) -> Console:
    from spinert.runtime.report.progress import console

    return console(stderr=stderr)


def _explain(error: Exception) -> str | None:
    """Return one line for an error of ours, None for a bug."""
    from spinert.runtime.errors import SpinertError

    if isinstance(error, SpinertError):
        return f"{error.reason}: {error.message}"
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return (
            f"the package {error.name} is not installed: "
            f"pip install 'spinert[{_EXTRAS[error.name]}]'"
        )
    if type(error).__module__.startswith("spinert."):
        return str(error)
    return None


def main(command: Callable[[], object] = cli) -> None:
    """Run the command line; errors of ours are one line and exit code 2."""
    try:
        command()
    except Exception as error:
        line = _explain(error)
        if line is None:
            raise
        click.echo(f"error: {line}", err=True)
        sys.exit(2)
