"""From a network of a bundle to an engine in the cache."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from spinert import __version__
from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Progress
from spinert.runtime.compiled.building import plan_from_onnx
from spinert.runtime.compiled.cache import EngineCache, StoredEngine
from spinert.runtime.compiled.flavour import Flavour
from spinert.runtime.compiled.key import EngineKey, Target, sha256_of_file
from spinert.runtime.compiled.profiles import LargestImage, profiles_from_network
from spinert.runtime.compiled.settings import EnginesSettings
from spinert.runtime.compiled.storing import BuildRecord
from spinert.runtime.compiled.timing import TimingCache
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = [
    "CompileOptions",
    "Obtained",
    "Source",
    "key_for",
    "obtained_engine",
    "options_from_settings",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class CompileOptions:
    """How engines are compiled; part of their key."""

    max_batch: int = 8
    """Largest batch that will be run."""
    optimization_level: int = 3
    """0 (quick build) to 5 (quick engine)."""
    strip_weights: bool = False
    """Leave out what the ONNX file can bring back when the engine is loaded."""
    largest: LargestImage = field(default_factory=LargestImage)
    """For networks that take images in their own size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The graph to compile."""

    role: str
    onnx: Path
    precision: str
    network: pb.Network
    """What the bundle says of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Obtained:
    """An engine, checked and ready to be loaded."""

    key: EngineKey
    engine: StoredEngine
    was_cached: bool
    why_built: tuple[str, ...] = ()
    """In what the nearest engine of this network differed; empty: there was none."""


def options_from_settings(settings: EnginesSettings, max_batch: int) -> CompileOptions:
    """Return the options that `settings` ask for, for batches up to `max_batch`."""
    return CompileOptions(
        max_batch=max_batch,
        optimization_level=settings.optimization_level,
        strip_weights=settings.strip_weights,
        largest=LargestImage(
            height_px=settings.max_height_px, width_px=settings.max_width_px
        ),
    )


def key_for(
    source: Source, flavour: Flavour, target: Target, options: CompileOptions
) -> EngineKey:
    """Return the key of the engine that is wanted; reads the whole ONNX file.

    Raises:
        BackendUnavailable: `flavour` cannot strip weights, or the file is unreadable.
        ConfigError: The network takes images in their own size, and no largest one is
            stated.
    """
    if options.strip_weights and not flavour.product.strips_weights:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{flavour} cannot strip weights without a GPU; build without "
            "--strip-weights (engines.strip_weights)",
        )
    return EngineKey(
        role=source.role,
        onnx_sha256=sha256_of_file(source.onnx),
        flavour=flavour.product.name,
        flavour_version=flavour.version,
        target=target,
        profiles=profiles_from_network(
            source.network,
            max_batch=options.max_batch,
            separate_single_frames=flavour.product.profiles_for_single_frames,
            largest=options.largest,
        ),
        precision=source.precision,
        optimization_level=options.optimization_level,
        stripped=options.strip_weights,
    )


def obtained_engine(
    source: Source,
    flavour: Flavour,
    key: EngineKey,
    cache: EngineCache,
    progress: Progress,
) -> Obtained:
    """Return the engine of `key` from the cache, compiling it where it is missing.

    What is returned was read back from disk and checked, whether it is new or not.
    Where another process compiles the same engine, this one waits and takes it.

    Args:
        source: The graph.
        flavour: What compiles.
        key: From `key_for`.
        cache: Where engines are kept.
        progress: Called with what is being done and the fraction of it; what it
            raises ends the wait or the build, and is passed on.

    Raises:
        BackendUnavailable: It cannot be compiled or stored, or the engine there could
            have been written by another user.
    """
    progress(f"looking for the engine of {key.role}", 0.0)
    if found := cache.load(key):
        return Obtained(key=key, engine=found, was_cached=True)
    waiting = f"waiting for another process that builds the engine of {key.role}"
    with cache.building(key, lambda: progress(waiting, 0.0)):
        if found := cache.load(key):
            return Obtained(key=key, engine=found, was_cached=True)
        why = cache.why_missing(key)
        logger.info(
            "building engine %s of %s (%s)",
            key.digest()[:12],
            key.role,
            "; ".join(why) or "the first of this network",
        )
        _build(source, flavour, key, cache, progress)
        built = cache.load(key)
    if built is None:
        raise BackendUnavailable(
            Reason.ENGINE_CACHE_FAILED,
            f"the engine of {key.role} did not survive being written to {cache.root}; "
            "check the disk, or set engines.cache_dir",
        )
    return Obtained(key=key, engine=built, was_cached=False, why_built=why)


def _build(
    source: Source,
    flavour: Flavour,
    key: EngineKey,
    cache: EngineCache,
    progress: Progress,
) -> None:
    stage = f"building the engine of {key.role} for sm_{key.target.sm}"
    # Before minutes of work: with its weights an engine is as large as its graph.
    cache.require_room(source.onnx.stat().st_size)
    timing = None
    if flavour.product.has_timing_cache:
        timing = TimingCache(cache.root, flavour, key.target)
    plan = plan_from_onnx(
        flavour,
        source.onnx,
        source.network,
        key,
        lambda fraction: progress(stage, fraction),
        timing,
    )
    record = BuildRecord(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        spinert_version=__version__,
        seconds=round(plan.seconds, 3),
        peak_rss_bytes=plan.peak_rss_bytes,
    )
    cache.store(key, plan.content, record)
