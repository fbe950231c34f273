"""`spinert build`: compile the networks of a bundle into engines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from spinert.proto.agreement import FP16, FP32
from spinert.runtime.backends import Progress
from spinert.runtime.backends.forms import chosen_form
from spinert.runtime.backends.tensorrt import DEFAULT_PRECISION
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.compiled.cache import EngineCache
from spinert.runtime.compiled.flavour import Flavour, load_flavour
from spinert.runtime.compiled.gpu import gpu_of_this_machine
from spinert.runtime.compiled.key import (
    Target,
    ahead_of_time_target,
    target_for,
)
from spinert.runtime.compiled.obtaining import (
    Obtained,
    Source,
    key_for,
    obtained_engine,
    options_from_settings,
)
from spinert.runtime.compiled.settings import EnginesSettings
from spinert.runtime.config import Settings
from spinert.runtime.errors import ConfigError, Reason
from spinert.runtime.report.progress import stage_progress

__all__ = [
    "BuildFlags",
    "BuildOrder",
    "BuiltEngine",
    "build_engines",
    "engines_table",
    "json_from_engines",
    "order_from_flags",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOrder:
    """What `spinert build` was asked for."""

    bundle: Path
    flavour: str
    """A key of spinert.runtime.compiled.flavour.PRODUCTS."""
    sms: tuple[str, ...]
    """Compute capabilities to compile for; empty: the GPU of this machine."""
    precision: str
    """Of the graphs: "fp32" or "fp16"."""
    max_batch: int
    settings: EnginesSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildFlags:
    """The command line, as it was typed; None: as the settings say."""

    bundle: Path
    target: str
    sm: str | None = None
    max_batch: int | None = None
    precision: str | None = None
    optimization_level: int | None = None
    strip_weights: bool = False
    cache: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltEngine:
    """An engine in the cache, and what it took to make it."""

    network: str
    flavour: str
    version: str
    sm: str
    gpu: str
    precision: str
    max_batch: int
    bytes: int
    sha256: str
    seconds: float
    """Building it, whenever that was."""
    peak_rss_bytes: int
    """Largest memory of the process that built it."""
    was_cached: bool
    why_built: tuple[str, ...]
    """In what the nearest engine there was differs; empty: there was none."""
    directory: str


def order_from_flags(flags: BuildFlags, settings: Settings) -> BuildOrder:
    """Return what to build: the settings of the server, with what flags override.

    Raises:
        ConfigError: A flag is out of range, or the settings ask for a precision that
            no engine has.
    """
    engines = settings.engines
    level = flags.optimization_level
    overridden = replace(
        engines,
        cache_dir=str(flags.cache or engines.cache_dir),
        optimization_level=engines.optimization_level if level is None else level,
        strip_weights=flags.strip_weights or engines.strip_weights,
    )
    # As "86" or as GPU makers write it, "8.6".
    sms = (sm.strip().replace(".", "") for sm in (flags.sm or "").split(","))
    return BuildOrder(
        bundle=flags.bundle,
        flavour=flags.target,
        sms=tuple(dict.fromkeys(sm for sm in sms if sm)),
        precision=_precision(flags, settings),
        max_batch=flags.max_batch or settings.engine.max_batch,
        settings=overridden,
    )


def build_engines(order: BuildOrder, console: Console) -> tuple[BuiltEngine, ...]:
    """Build what is missing, and check what is there, showing progress on `console`.

    Split graphs are not compiled: they compute again, in ONNX Runtime on the CPU, the
    few frames that a network itself says it could not finish.

    Raises:
        BundleError: The bundle is damaged.
        BackendUnavailable: TensorRT is not installed, does not know the GPU, cannot
            compile a network, or the cache cannot be used.
        ConfigError: A setting that a network needs is missing.
    """
    flavour = load_flavour(order.flavour)
    targets = _targets(order, flavour)
    cache = EngineCache(order.settings.directory())
    with stage_progress(console) as progress:
        progress("checking hashes", 0.0)
        bundle = load_bundle(order.bundle)
        sources = _sources(bundle, order.precision, flavour)
        jobs = [(source, target) for target in targets for source in sources]
        options = options_from_settings(order.settings, order.max_batch)
        keys = [key_for(source, flavour, target, options) for source, target in jobs]
        # What was asked for now stays, even where it is more than may be kept.
        used = {key.digest() for key in keys}
        engines: list[BuiltEngine] = []
        for index, ((source, _), key) in enumerate(zip(jobs, keys, strict=True)):
            share = _share(progress, index, len(jobs))
            obtained = obtained_engine(source, flavour, key, cache, share)
            engines.append(_report(obtained, order.max_batch))
            cache.prune(order.settings.keep_gib * 2**30, used)
        progress("engines are ready", 1.0)
    return tuple(engines)


def engines_table(engines: Sequence[BuiltEngine]) -> Table:
    """Return what was built, one row for each engine."""
    first = engines[0]
    table = Table(
        title=f"Engines of {first.flavour} {first.version}", title_justify="left"
    )
    for name in ("network", "for", "precision"):
        table.add_column(name)
    for name in ("batch", "size", "time", "memory"):
        table.add_column(name, justify="right")
    table.add_column("")
    for engine in engines:
        table.add_row(*_cells(engine))
    return table


def json_from_engines(engines: Sequence[BuiltEngine]) -> str:
    """Return the same as one JSON object."""
    return json.dumps({"engines": [asdict(engine) for engine in engines]}, indent=2)


def _precision(flags: BuildFlags, settings: Settings) -> str:
    wanted = flags.precision or settings.backend.precision or DEFAULT_PRECISION
    if wanted not in (FP16, FP32):
        raise ConfigError(
            Reason.CONFIG_INVALID,
            f"no engine computes backend.precision = {wanted!r}: give --precision "
            f"{FP16} or {FP32}",
        )
    return wanted


def _targets(order: BuildOrder, flavour: Flavour) -> tuple[Target, ...]:
    if order.sms:
        return tuple(ahead_of_time_target(flavour, sm) for sm in order.sms)
    gpu = gpu_of_this_machine()
    return (target_for(flavour, gpu, bind_to_gpu=order.settings.bind_to_gpu),)


def _sources(
    bundle: LoadedBundle, precision: str, flavour: Flavour
) -> tuple[Source, ...]:
    return tuple(
        _source(bundle, role, precision, flavour)
        for role in sorted(bundle.spec.networks)
    )


def _source(
    bundle: LoadedBundle, role: str, precision: str, flavour: Flavour
) -> Source:
    network = bundle.spec.networks[role]
    form = chosen_form(role, network, precision, flavour.product.operators)
    onnx = bundle.directory / form.file
    return Source(role=role, onnx=onnx, precision=form.precision, network=network)


def _share(progress: Progress, index: int, count: int) -> Progress:
    """Return the progress of job `index` of `count`, as part of the whole."""

    def share(stage: str, fraction: float) -> None:
        progress(stage, (index + fraction) / count)

    return share


def _report(obtained: Obtained, max_batch: int) -> BuiltEngine:
    key, engine = obtained.key, obtained.engine
    return BuiltEngine(
        network=key.role,
        flavour=key.flavour,
        version=key.flavour_version,
        sm=key.target.sm,
        gpu=key.target.gpu,
        precision=key.precision,
        max_batch=max_batch,
        bytes=len(engine.plan),
        sha256=engine.sha256,
        seconds=engine.record.seconds,
        peak_rss_bytes=engine.record.peak_rss_bytes,
        was_cached=obtained.was_cached,
        why_built=obtained.why_built,
        directory=str(engine.directory),
    )


def _cells(engine: BuiltEngine) -> tuple[str, ...]:
    return (
        engine.network,
        " ".join(filter(None, (f"sm_{engine.sm}", engine.gpu))),
        engine.precision,
        f"1-{engine.max_batch}",
        f"{engine.bytes / 2**20:.1f} MiB",
        f"{engine.seconds:.1f} s",
        f"{engine.peak_rss_bytes / 2**20:.0f} MiB",
        _provenance(engine),
    )


def _provenance(engine: BuiltEngine) -> str:
    if engine.was_cached:
        return "from the cache"
    return f"built: {'; '.join(engine.why_built)}" if engine.why_built else "built"
