"""Serve at once on the fallback, and on the configured backend when it is proven."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Self

from spinert.runtime.backends import Backend, Progress
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.config import Settings
from spinert.runtime.engine.opening import opened_backend
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.engine.warming import warm_up
from spinert.runtime.errors import Reason, SpinertError
from spinert.runtime.server.logs import event
from spinert.runtime.server.readiness import prove

__all__ = ["PREPARING", "Upgrade", "UpgradeParts"]

_LOG = logging.getLogger(__name__)

PREPARING: Final = "PREPARING"
"""Why a server is degraded while its configured backend is made ready."""


class _CancelledError(Exception):
    """The server ends before the configured backend is ready."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpgradeParts:
    """What an upgrade works on."""

    bundle: LoadedBundle
    settings: Settings
    switch: BackendSwitch
    held: ExitStack
    """Takes over the configured backend; outlives the engine."""
    report: Progress
    """Told what is being prepared; called from the upgrade's thread."""


class Upgrade:
    """Prepares the configured backend on a thread of its own, then swaps it in.

    It is loaded (engines are built), passes the gate and is warmed up before any
    frame reaches it. Where it fails, the fallback goes on. As a context manager it
    ends its thread on the way out.
    """

    def __init__(self, parts: UpgradeParts, on_change: Callable[[str], None]) -> None:
        """Do nothing yet.

        Args:
            parts: What to work on.
            on_change: Called once, from the upgrade's thread, with the reason why the
                server stays degraded, or with nothing when it is not any more.
        """
        self._parts = parts
        self._on_change = on_change
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spinert-upgrade")

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop at the next step, and wait for it."""
        self.cancel()
        self._thread.join()

    def cancel(self) -> None:
        """Stop at the next step."""
        self._cancelled.set()

    def _run(self) -> None:
        name = self._parts.settings.backend.name
        event(_LOG, logging.INFO, "upgrade_started", backend=name)
        try:
            self._upgrade()
        except _CancelledError:
            event(_LOG, logging.INFO, "upgrade_cancelled", backend=name)
        except SpinertError as error:
            event(
                _LOG,
                logging.ERROR,
                "upgrade_failed",
                backend=name,
                reason=error.reason,
                message=error.message,
            )
            self._on_change(error.reason)
        except Exception as error:
            event(_LOG, logging.ERROR, "upgrade_failed", error=error, backend=name)
            self._on_change(Reason.INTERNAL)
        else:
            event(_LOG, logging.INFO, "upgraded", backend=name)

    def _upgrade(self) -> None:
        parts = self._parts
        with ExitStack() as own:
            backend = own.enter_context(
                opened_backend(parts.bundle, parts.settings, self._report)
            )
            self._report("checking certificates", 0.0)
            prove(parts.bundle, backend, parts.settings, self._report)
            self._report("warming up", 1.0)
            warm_up(parts.bundle, backend)
            # From here on it may serve, until after the engine has ended.
            parts.held.push(own.pop_all())
            self._swap(backend)

    def _swap(self, backend: Backend) -> None:
        before = self._parts.switch.swap(backend)
        self._on_change("")
        before.close()

    def _report(self, stage: str, fraction: float) -> None:
        if self._cancelled.is_set():
            raise _CancelledError
        self._parts.report(stage, fraction)
