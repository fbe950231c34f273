"""`spinert verify`: is this bundle whole, and right on this machine?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from spinert import __version__
from spinert.runtime.backends import Capabilities
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.config import Settings
from spinert.runtime.engine.opening import opened_backend
from spinert.runtime.golden import GoldenReport, run_golden_set
from spinert.runtime.passes import key_of_pass, store_pass
from spinert.runtime.report.progress import stage_progress

__all__ = ["json_from_report", "report_table", "verify_bundle"]


def verify_bundle(
    directory: Path, settings: Settings, console: Console
) -> tuple[LoadedBundle, Capabilities, GoldenReport]:
    """Check hashes, schema and the whole golden set, showing progress on `console`.

    The pass is remembered, so that a server with this backend starts at once.

    Args:
        directory: The bundle.
        settings: The server's: which backend runs the golden set, and where passes
            are remembered.
        console: Where progress is shown.

    Raises:
        BundleError: The bundle is damaged, or its golden set fails here.
        BackendUnavailable: The backend cannot load it.
    """
    with stage_progress(console) as progress:
        progress("checking hashes", 0.0)
        bundle = load_bundle(directory)
        progress("loading the networks", 0.0)
        with opened_backend(bundle, settings.backend) as backend:
            report = run_golden_set(bundle, backend, progress=progress)
            key = key_of_pass(bundle, backend.capabilities, __version__)
            passes = settings.golden.directory()
            if passes is None:
                console.print(
                    "this pass cannot be remembered: set golden.state_dir in a file "
                    "for --config, here and for `spinert serve`",
                    style="yellow",
                )
            else:
                store_pass(passes, key, report)
            return bundle, backend.capabilities, report


def report_table(
    bundle: LoadedBundle, capabilities: Capabilities, report: GoldenReport
) -> Table:
    """Return what was measured, one row for each output."""
    batches = ", ".join(str(size) for size in report.batch_sizes)
    title = (
        f"{bundle.spec.name} {bundle.spec.version} passes on {capabilities.name} "
        f"{capabilities.version} ({capabilities.device}, {capabilities.precision}): "
        f"{report.frames} golden frames, every slot of batches of {batches}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("network")
    table.add_column("output")
    table.add_column("largest difference", justify="right")
    table.add_column("tolerance", justify="right")
    for measure in report.measures:
        table.add_row(
            measure.network,
            measure.output,
            f"{measure.measured_max_abs:.1e}",
            f"{measure.tolerance_abs:.0e}",
        )
    return table


def json_from_report(
    bundle: LoadedBundle, capabilities: Capabilities, report: GoldenReport
) -> str:
    """Return the same as one JSON object."""
    told = {
        "bundle": bundle.spec.name,
        "version": bundle.spec.version,
        "sha256": bundle.sha256,
        "backend": asdict(capabilities),
        "golden": asdict(report),
        "passed": True,
    }
    return json.dumps(told, indent=2)
