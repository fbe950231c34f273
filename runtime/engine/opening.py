"""Open the backend of a bundle: the one place that loads networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spinert.runtime import backends
from spinert.runtime.backends import Backend, BackendOptions, Capabilities, Progress
from spinert.runtime.backends.forms import Form, chosen_form
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.config import Settings
from spinert.runtime.errors import ConfigError

__all__ = ["load_networks", "opened_backend", "options_from_settings", "served_form"]


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
        yield backend
    finally:
        backend.close()


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


def _cache_directory(settings: Settings) -> Path | None:
    try:
        return settings.engines.directory()
    except ConfigError:
        # Only a backend with engines needs one, and says so.
        return None
