"""`spinert verify`: is this bundle whole, and right on this machine?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from spinert import __version__
from spinert.runtime.backends import Capabilities, Progress
from spinert.runtime.backends.precision import precision_text
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.config import Settings, fallback_settings
from spinert.runtime.engine.opening import opened_backend
from spinert.runtime.gate.certificate import Certificates, cpu_model
from spinert.runtime.gate.report import GateReport, NetworkGate
from spinert.runtime.gate.running import run_gate
from spinert.runtime.report.deviations import values_from_deviations
from spinert.runtime.report.progress import stage_progress

__all__ = [
    "BackendCheck",
    "Verification",
    "VerifyFlags",
    "json_from_verification",
    "settings_from_flags",
    "tables_from_verification",
    "verify_bundle",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyFlags:
    """The command line, as it was typed; None: as the settings say."""

    backend: str | None = None
    threads: int | None = None
    precision: str | None = None
    max_batch: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendCheck:
    """What the gate found on one backend."""

    capabilities: Capabilities
    gate: GateReport
    is_fallback: bool

    def precision_of(self, gate: NetworkGate) -> str:
        """Return the precision of one network in words; split graphs have their own."""
        return precision_text(self.capabilities.name, gate.precision)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """A bundle that is whole, and what the gate found on this machine."""

    bundle: LoadedBundle
    machine: str
    checks: tuple[BackendCheck, ...]
    """The configured backend, and the fallback where there is one."""

    @property
    def has_passed(self) -> bool:
        """Tell whether every backend passed."""
        return not any(check.gate.failure for check in self.checks)

    def require_passed(self) -> None:
        """Do nothing if every backend passed.

        Raises:
            BundleError: GOLDEN_SET_FAILED, with what was wrong first.
        """
        for check in self.checks:
            check.gate.require_passed()


def settings_from_flags(flags: VerifyFlags, settings: Settings) -> Settings:
    """Return the settings of the server, with what flags override.

    Raises:
        ConfigError: A flag is out of range.
    """
    stated, engine = settings.backend, settings.engine
    name = flags.backend or stated.name
    backend = replace(
        stated,
        name=name,
        threads=stated.threads if flags.threads is None else flags.threads,
        precision=flags.precision or stated.precision,
        # Asked for itself, it stands in for nothing.
        fallback="" if name == stated.fallback else stated.fallback,
    )
    engine = replace(engine, max_batch=flags.max_batch or engine.max_batch)
    return replace(settings, backend=backend, engine=engine)


def verify_bundle(
    directory: Path, settings: Settings, console: Console
) -> Verification:
    """Check hashes, schema and the whole gate, showing progress on `console`.

    What passes is certified, so that a server with these settings starts at once.

    Args:
        directory: The bundle.
        settings: The server's: which backends run, up to which batch size, and where
            certificates are kept.
        console: Where progress is shown.

    Raises:
        BundleError: The bundle is damaged, or preprocessing differs here. What a
            backend answered wrongly is in the result.
        BackendUnavailable: A backend cannot load it.
    """
    with stage_progress(console) as progress:
        progress("checking hashes", 0.0)
        bundle = load_bundle(directory)
        checks = [_checked(bundle, settings, console, progress, is_fallback=False)]
        if settings.backend.fallback:
            second = fallback_settings(settings)
            checks.append(_checked(bundle, second, console, progress, is_fallback=True))
    return Verification(bundle=bundle, machine=cpu_model(), checks=tuple(checks))


def _checked(
    bundle: LoadedBundle,
    settings: Settings,
    console: Console,
    progress: Progress,
    *,
    is_fallback: bool,
) -> BackendCheck:
    progress("loading the networks", 0.0)
    with opened_backend(bundle, settings, progress) as backend:
        sizes = range(1, settings.engine.max_batch + 1)
        gate = run_gate(bundle, backend, sizes, progress)
        certificates = Certificates(bundle, backend, settings.golden.directory())
        if not certificates.can_be_stored:
            console.print(
                "no certificate can be stored: set golden.state_dir in a file for "
                "--config, here and for `spinert serve`",
                style="yellow",
            )
        if not gate.failure:
            certificates.store(gate)
        return BackendCheck(
            capabilities=backend.capabilities, gate=gate, is_fallback=is_fallback
        )


def tables_from_verification(found: Verification) -> Iterator[Table]:
    """Yield what was measured: for each backend a table, one row for each output."""
    spec = found.bundle.spec
    for check in found.checks:
        told = check.capabilities
        verdict = "fails" if check.gate.failure else "passes"
        title = (
            f"{spec.name} {spec.version} {verdict} on {told.name} {told.version} "
            f"({told.device}, {precision_text(told.name, told.precision)}): "
            f"{check.gate.frames} golden frames, every slot of batches of "
            f"{_range(check.gate.networks[0].batch_sizes)}"
        )
        table = Table(title=title, title_justify="left")
        for name in ("network", "output"):
            table.add_column(name)
        for name in ("largest difference", "mean", "tolerance", "decision flips"):
            table.add_column(name, justify="right")
        for row in _rows(check.gate):
            table.add_row(*row)
        yield table


def json_from_verification(found: Verification) -> str:
    """Return the same as one JSON object."""
    told = {
        "bundle": found.bundle.spec.name,
        "version": found.bundle.spec.version,
        "sha256": found.bundle.sha256,
        "runtime_version": __version__,
        "machine": found.machine,
        "backends": [
            {
                "backend": asdict(check.capabilities),
                "fallback": check.is_fallback,
                "networks": [
                    asdict(gate) | {"precision_text": check.precision_of(gate)}
                    for gate in check.gate.networks
                ],
                "failure": check.gate.failure,
            }
            for check in found.checks
        ],
        "deviations": list(values_from_deviations(found.bundle.spec)),
        "passed": found.has_passed,
    }
    return json.dumps(told, indent=2)


def _rows(report: GateReport) -> Iterator[tuple[str, ...]]:
    for gate in report.networks:
        name = gate.network + (" (recomputed)" if gate.is_recomputed else "")
        for measure in gate.measures:
            colour = "" if measure.is_within else "[red]"
            yield (
                name,
                measure.output,
                f"{colour}{measure.measured_max_abs:.1e}",
                f"{measure.measured_mean_abs:.1e}",
                f"{measure.tolerance_abs:.0e}",
                str(gate.decision_flips),
            )


def _range(sizes: Sequence[int]) -> str:
    return f"1 to {max(sizes)}" if len(sizes) > 1 else str(sizes[0])
