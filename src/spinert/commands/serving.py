"""`spinert serve` and `analyze`: frames in, verdicts out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from spinert.commands.common import PATH, console, settings_from_option

__all__ = ["analyze", "serve"]


@click.command()
@click.option("--bundle", type=PATH, required=True, help="Bundle to serve.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings (TOML).")
@click.option("--listen", help="HOST:PORT or unix:/PATH; overrides the settings.")
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
    # Read when gRPC is imported: its own lines on standard error are no JSON.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import signal
    from dataclasses import replace

    settings = settings_from_option(config)
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


@click.command()
@click.argument("paths", nargs=-1, required=True, type=PATH)
@click.option("--server", help="HOST:PORT of a running server.")
@click.option("--bundle", type=PATH, help="Serve this bundle just for the call.")
@click.option("--json", "json_path", type=PATH, help="Write results to a file.")
@click.option("--overlay", type=PATH, help="Write annotated PNGs to a folder.")
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
    answers = run_job(job, console(), console(stderr=True))
    errors = [a.outcome for a in answers if isinstance(a.outcome, FileError)]
    if not all(error.is_refusal for error in errors):
        sys.exit(1)
