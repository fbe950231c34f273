"""The life of a server process, from bundle to exit code.

bundle -> decode workers -> port open, NOT_SERVING -> backend (engines are built) ->
gate or one golden frame -> warm-up -> SERVING -> SIGTERM -> NOT_SERVING, frames in
flight finish -> exit 0. A second signal does not wait for them. An engine that
cannot go on ends the same way, with exit code 1, for a service manager to start it
again. With a fallback, it is the fallback that goes this way, and the configured
backend takes over once it is ready (`spinert.runtime.server.upgrade`).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from spinert import __version__
from spinert.runtime.backends import require_known
from spinert.runtime.backends.precision import precision_text
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.config import Settings, fallback_settings
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.engine.engine import Engine
from spinert.runtime.engine.opening import opened_backend
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.kserve.opening import (
    inference_from_engine,
    repository_from_bundle,
)
from spinert.runtime.preprocess.network_input import PREPROCESSING
from spinert.runtime.replies import DISCLAIMER, Identity, identity_from_bundle
from spinert.runtime.server.front import Front
from spinert.runtime.server.logs import event, log_to
from spinert.runtime.server.readiness import prove
from spinert.runtime.server.service import limits_from_settings
from spinert.runtime.server.stream import Serving
from spinert.runtime.server.upgrade import PREPARING, Upgrade, UpgradeParts

__all__ = ["serve"]

_LOG = logging.getLogger(__name__)
_REPORT_EVERY_S = 2.0

T = TypeVar("T")


def serve(
    bundle_dir: Path,
    settings: Settings,
    on_ready: Callable[[str], None] = lambda address: None,
) -> int:
    """Serve a bundle until SIGTERM or SIGINT; return the exit code.

    It is 0, or 1 where the engine failed.

    Logs go to standard error, one JSON object a line. Must run on the main thread.

    Args:
        bundle_dir: The bundle.
        settings: Everything else.
        on_ready: Called once with HOST:PORT when frames are answered.

    Raises:
        SetupError: It cannot serve; the message says why and what to do.
    """
    log_to()
    event(_LOG, logging.INFO, "starting", version=__version__, notice=DISCLAIMER)
    # A tenth less CPU per frame than asyncio's own loop.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_Life(bundle_dir, settings, on_ready).run())
    event(_LOG, logging.INFO, "stopped", code=code)
    return code


class _StoppedError(Exception):
    """A signal came before the server was ready."""


class _Life:
    def __init__(
        self, bundle_dir: Path, settings: Settings, on_ready: Callable[[str], None]
    ) -> None:
        self._bundle_dir = bundle_dir
        self._settings = settings
        self._on_ready = on_ready
        self._signalled = asyncio.Event()
        self._has_failed = False
        self._reported_s = time.monotonic()
        self._upgrades: list[Upgrade] = []

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled.set)
        try:
            async with AsyncExitStack() as stack:
                front, engine = await self._start(stack)
                await self._signalled.wait()
                await self._drain(front, engine)
        except _StoppedError:
            event(_LOG, logging.INFO, "stopped_before_ready")
        return 1 if self._has_failed else 0

    def _fail_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bring the news from an engine thread to the event loop."""
        # The loop is closed when the server ended before the engine did.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._fail)

    def _fail(self) -> None:
        """End the server: what is in flight is answered, nothing more is."""
        event(_LOG, logging.CRITICAL, "engine_failed")
        self._has_failed = True
        self._signalled.set()

    # ----------------------------------------------------------------- starting

    async def _start(self, stack: AsyncExitStack) -> tuple[Front, Engine]:
        settings = self._settings
        require_known(settings.backend.name)
        bundle = await self._step(load_bundle, self._bundle_dir)
        spec = bundle.spec
        event(_LOG, logging.INFO, "bundle_loaded", bundle=spec.name, notice=spec.notice)
        # Workers start before gRPC does: its threads do not survive a fork.
        pool = await stack.enter_async_context(_entered(DecodePool(settings.decode)))
        held = await stack.enter_async_context(_entered(ExitStack()))
        limits = limits_from_settings(settings)
        front = Front(settings.server, limits)
        if settings.kserve.enabled:
            front.offer(repository_from_bundle(bundle, settings))
        await stack.enter_async_context(front)
        event(_LOG, logging.INFO, "listening", address=front.address)
        switch = await self._proven(bundle, held)
        engine = Engine(bundle, switch, pool, settings)
        engine.on_failure = partial(self._fail_soon, asyncio.get_running_loop())
        await stack.enter_async_context(_entered(engine))
        await self._step(engine.warm_up)
        await self._step(pool.wait_ready)
        origin = _Origin(bundle, switch)
        await front.serve(
            Serving(engine=engine, identity=origin.identity, clock=time.monotonic),
            inference_from_engine(
                engine, bundle, settings, origin.identity, time.monotonic
            ),
        )
        event(_LOG, logging.INFO, "ready", address=front.address)
        self._on_ready(front.address)
        if switch.is_degraded:
            parts = UpgradeParts(
                bundle=bundle,
                settings=settings,
                switch=switch,
                held=held,
                report=self._log_progress,
            )
            upgrade = Upgrade(parts, origin.change)
            self._upgrades.append(upgrade)
            await stack.enter_async_context(_entered(upgrade))
        return front, engine

    async def _proven(self, bundle: LoadedBundle, held: ExitStack) -> BackendSwitch:
        """Open the backend that serves first, into `held`, and prove it."""
        degraded = bool(self._settings.backend.fallback)
        settings = fallback_settings(self._settings) if degraded else self._settings
        opening = opened_backend(bundle, settings, self._report_progress)
        backend = await self._step(held.enter_context, opening)
        told = backend.capabilities
        precision = precision_text(told.name, told.precision)
        event(
            _LOG, logging.INFO, "backend_loaded", backend=told.name, precision=precision
        )
        await self._step(prove, bundle, backend, settings, self._report_progress)
        return BackendSwitch(backend, degraded=degraded)

    def _report_progress(self, stage: str, fraction: float) -> None:
        """Log now and then; called from the thread that builds or proves."""
        if self._signalled.is_set():
            raise _StoppedError
        self._log_progress(stage, fraction)

    def _log_progress(self, stage: str, fraction: float) -> None:
        now_s = time.monotonic()
        if now_s - self._reported_s >= _REPORT_EVERY_S:
            self._reported_s = now_s
            percent = round(100 * fraction)
            event(_LOG, logging.INFO, "progress", stage=stage, percent=percent)

    async def _step(self, work: Callable[..., T], *args: Any) -> T:
        """Run blocking `work` off the loop; a signal counts when it has ended."""
        result = await asyncio.to_thread(work, *args)
        if self._signalled.is_set():
            raise _StoppedError
        return result

    # ------------------------------------------------------------------- ending

    async def _drain(self, front: Front, engine: Engine) -> None:
        """Refuse new frames and finish those in flight."""
        grace_s = self._settings.server.grace_s
        in_flight = engine.in_flight
        event(_LOG, logging.INFO, "draining", in_flight=in_flight, grace_s=grace_s)
        for upgrade in self._upgrades:
            upgrade.cancel()
        await front.drain()
        closing = asyncio.create_task(asyncio.to_thread(engine.close, grace_s))
        self._signalled.clear()
        second = asyncio.create_task(self._signalled.wait())
        await asyncio.wait({closing, second}, return_when=asyncio.FIRST_COMPLETED)
        second.cancel()
        if not closing.done():
            event(_LOG, logging.WARNING, "draining_cut_short")
            await asyncio.to_thread(engine.close, 0.0)
        await closing


class _Origin:
    """What answers say of their origin: it changes when the backend does."""

    def __init__(self, bundle: LoadedBundle, switch: BackendSwitch) -> None:
        self._bundle = bundle
        self._switch = switch
        self._identity = self._stated(PREPARING if switch.is_degraded else "")

    def identity(self) -> Identity:
        """Return it as it is at the moment."""
        return self._identity

    def change(self, degraded_reason: str) -> None:
        """Note another backend, or another reason why it is not; from any thread."""
        self._identity = self._stated(degraded_reason)

    def _stated(self, degraded_reason: str) -> Identity:
        return identity_from_bundle(
            self._bundle,
            self._switch.capabilities,
            preprocessing=PREPROCESSING,
            runtime_version=__version__,
            degraded_reason=degraded_reason,
        )


@asynccontextmanager
async def _entered(manager: Any) -> AsyncIterator[Any]:
    """Enter and leave a blocking context manager off the event loop."""
    value = await asyncio.to_thread(manager.__enter__)
    try:
        yield value
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)
