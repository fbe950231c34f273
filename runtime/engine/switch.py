"""Which backend runs the next batch: it changes between batches, never within one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from spinert.runtime.backends import Backend, Capabilities, CompiledBackend
from spinert.runtime.backends.on_device import PreparingBackend
from spinert.runtime.verdict import NetworkRun

__all__ = ["BackendSwitch", "Source", "engine_key"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """A backend that serves."""

    backend: Backend
    capabilities: Capabilities
    is_degraded: bool
    """It stands in for the configured one."""
    turn: AbstractContextManager[object]
    """Held while a network runs; a lock where the backend runs one at a time."""

    def run_of(self, role: str) -> NetworkRun:
        """Return what answers say of a frame that network `role` ran here."""
        told = self.capabilities
        return NetworkRun(
            network=role,
            backend=f"{told.name} {told.version}".strip(),
            precision=told.precision,
            engine_key=engine_key(self.backend, role),
            is_degraded=self.is_degraded,
        )


class BackendSwitch:
    """Hands every batch the backend of the moment; safe for any thread.

    Backends belong to the caller and have loaded the bundle's networks.
    """

    def __init__(self, backend: Backend, *, degraded: bool = False) -> None:
        """Start with `backend`, which stands in for another if `degraded`."""
        self._changed = threading.Condition()
        self._users: Counter[Source] = Counter()
        self._batches: Counter[str] = Counter()
        self._current = _source(backend, degraded)

    @property
    def capabilities(self) -> Capabilities:
        """What runs the next batch."""
        return self._current.capabilities

    @property
    def preparing(self) -> PreparingBackend | None:
        """The backend of the moment if frames are to be prepared by it."""
        backend = self._current.backend
        wants = self._current.capabilities.prepares_on_device
        return backend if wants and isinstance(backend, PreparingBackend) else None

    @property
    def is_degraded(self) -> bool:
        """Whether that stands in for the configured backend."""
        return self._current.is_degraded

    @contextmanager
    def slot(self, role: str) -> Iterator[None]:
        """Wait until the backend of the moment takes another batch of network `role`.

        Hold it from before a batch is formed until it has been run: a batch that is
        formed earlier than it can run misses the frames that come meanwhile.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._batches[role] < self._current.capabilities.concurrent_batches
                )
            )
            self._batches[role] += 1
        try:
            yield
        finally:
            with self._changed:
                self._batches[role] -= 1
                self._changed.notify_all()

    @contextmanager
    def using(self) -> Iterator[Source]:
        """Yield the backend of the moment; it stays usable within the block.

        Waits for its turn where the backend runs one network at a time.
        """
        with self._changed:
            source = self._current
            self._users[source] += 1
        try:
            with source.turn:
                yield source
        finally:
            with self._changed:
                self._users[source] -= 1
                self._changed.notify_all()

    def swap(self, backend: Backend) -> Backend:
        """Give `backend` all batches from now on; return the one before.

        Returns once no batch runs on that one any more, so that it can be closed.
        """
        with self._changed:
            before, self._current = self._current, _source(backend, degraded=False)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._users[before])
            del self._users[before]
        return before.backend


def engine_key(backend: Backend, role: str) -> str:
    """Return the digest that names the engine of network `role`; empty: none."""
    if not isinstance(backend, CompiledBackend):
        return ""
    return backend.engine_directories[role].name


def _source(backend: Backend, degraded: bool) -> Source:
    capabilities = backend.capabilities
    turn: AbstractContextManager[object] = nullcontext()
    if not capabilities.concurrent_networks:
        turn = threading.Lock()
    return Source(
        backend=backend, capabilities=capabilities, is_degraded=degraded, turn=turn
    )
