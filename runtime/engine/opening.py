"""Open the backend of a bundle: the one place that loads networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spinert.runtime import backends
from spinert.runtime.backends import Backend, BackendOptions
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.config import BackendSettings

__all__ = ["load_networks", "opened_backend"]


@contextmanager
def opened_backend(
    bundle: LoadedBundle, settings: BackendSettings
) -> Iterator[Backend]:
    """Yield the configured backend with all networks of `bundle`; close it after.

    Raises:
        BackendUnavailable: No such backend, not installed, or it cannot load a
            network; no other is tried.
    """
    backend = backends.load(settings.name, BackendOptions(threads=settings.threads))
    try:
        load_networks(backend, bundle)
        yield backend
    finally:
        backend.close()


def load_networks(backend: Backend, bundle: LoadedBundle) -> None:
    """Load every network of `bundle`, by role in alphabetical order.

    Raises:
        BackendUnavailable: A file cannot be loaded or breaks its description.
    """
    for role in sorted(bundle.spec.networks):
        backend.load(role, bundle.network_path(role), bundle.spec.networks[role])
