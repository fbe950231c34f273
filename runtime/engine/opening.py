"""Open the backend of a bundle: the one place that loads networks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spinert.runtime import backends
from spinert.runtime.backends import (
    Backend,
    BackendOptions,
    Capabilities,
    CompiledBackend,
    Progress,
)
from spinert.runtime.backends.forms import Form, chosen_form
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.compiled.cache import EngineCache
from spinert.runtime.config import Settings, fallback_settings
from spinert.runtime.errors import BackendUnavailable, ConfigError

__all__ = [
    "load_networks",
    "opened_backend",
    "options_from_settings",
    "require_backend",
    "served_form",
]

logger = logging.getLogger(__name__)


def _no_progress(_stage: str, _fraction: float) -> None:
    return


@contextmanager
def opened_backend(
    bundle: LoadedBundle, settings: Settings, progress: Progress = _no_progress
) -> Iterator[Backend]:
    """Yield the configured backend with all networks of `bundle`; close it after.

    Raises:
        BackendUnavailable: No such backend, not installed, or it cannot load a
            network; no other is tried.
    """
    options = options_from_settings(settings, progress)
    backend = backends.load(settings.backend.name, options)
    try:
        load_networks(backend, bundle)
        _prune(backend, options)
        yield backend
    finally:
        backend.close()


def require_backend(settings: Settings) -> None:
    """Do nothing if the backend that serves first can be opened on this machine.

    With a fallback that is the fallback: the server starts without the hardware of
    the configured backend, whose name has to be known all the same.

    Raises:
        BackendUnavailable: It cannot, or there is no such backend.
    """
    backends.require_known(settings.backend.name)
    first = fallback_settings(settings) if settings.backend.fallback else settings
    backends.load(first.backend.name, options_from_settings(first)).close()


def options_from_settings(
    settings: Settings, progress: Progress = _no_progress
) -> BackendOptions:
    """Return what the configured backend is told."""
    return BackendOptions(
        threads=settings.backend.threads,
        precision=settings.backend.precision,
        max_batch=settings.engine.max_batch,
        cache_dir=_cache_directory(settings),
        engines=settings.engines,
        cuda_graphs=settings.backend.cuda_graphs,
        device_preprocessing=settings.backend.device_preprocessing,
        device_images_mib=settings.backend.device_images_mib,
        progress=progress,
    )


def served_form(bundle: LoadedBundle, role: str, capabilities: Capabilities) -> Form:
    """Return the graph of network `role` that a backend of `capabilities` runs.

    Raises:
        BackendUnavailable: The bundle has none for it.
    """
    network = bundle.spec.networks[role]
    return chosen_form(role, network, capabilities.precision, capabilities.operators)


def load_networks(backend: Backend, bundle: LoadedBundle) -> None:
    """Load every network of `bundle`, by role in alphabetical order.

    Raises:
        BackendUnavailable: There is no graph for this backend, or a file cannot be
            loaded or breaks its description.
    """
    for role in sorted(bundle.spec.networks):
        form = served_form(bundle, role, backend.capabilities)
        backend.load(role, bundle.directory / form.file, bundle.spec.networks[role])


def _prune(backend: Backend, options: BackendOptions) -> None:
    """Keep the engine cache within its size; the engines of `backend` stay."""
    if options.cache_dir is None or not isinstance(backend, CompiledBackend):
        return
    used = {directory.name for directory in backend.engine_directories.values()}
    try:
        cache = EngineCache(options.cache_dir)
        removed = cache.prune(options.engines.keep_gib * 2**30, used)
    except BackendUnavailable as error:
        # It has just given the engines; that it cannot be tidied is no reason to stop.
        logger.warning("the engine cache is not pruned: %s", error.message)
        return
    if removed:
        logger.info("removed %d engines not used for longest", removed)


def _cache_directory(settings: Settings) -> Path | None:
    try:
        return settings.engines.directory()
    except ConfigError:
        # Only a backend with engines needs one, and says so.
        return None
