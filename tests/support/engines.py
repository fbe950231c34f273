"""Engines for tests: no decoder processes, networks that obey the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import BackendOptions
from spinert.runtime.backends.fake import FakeBackend
from spinert.runtime.bundle import LoadedBundle, load_bundle
from spinert.runtime.config import DecodeSettings, EngineSettings, Settings
from spinert.runtime.engine.engine import Engine
from spinert.runtime.engine.opening import load_networks
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.frame import (
    Answer,
    DicomFrame,
    EncodedFrame,
    FrameRequest,
    Priority,
    RawFrame,
)
from spinert.runtime.image import Image, Photometric
from spinert.runtime.verdict import Output
from support.bundles import tiny_spec, write_tiny_bundle

BOTH = frozenset({Output.CLASSIFICATION, Output.FINDINGS})
CLASS_ONLY = frozenset({Output.CLASSIFICATION})
BRIGHT, DARK = 230, 20
"""Levels of a frame that the tiny bundle finds abnormal, and of one it does not."""
PATIENCE_S = 30
"""How long a test waits for something that should take milliseconds."""


class ManualClock:
    """Stands still until a test moves it."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class GatedBackend(FakeBackend):
    """A fake backend that runs only while its gate is open, and tells what it ran."""

    def __init__(self, *, concurrent: bool = True) -> None:
        super().__init__(BackendOptions())
        self.gate = threading.Event()
        self.gate.set()
        self.concurrent = concurrent
        self.calls: list[tuple[str, tuple[int, ...]]] = []
        self.running = threading.Semaphore(0)
        self.errors: list[Exception] = []
        self.spoil: Any = None
        self.now = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    @property
    def capabilities(self):
        return replace(super().capabilities, concurrent_networks=self.concurrent)

    def run(self, role: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        with self._lock:
            self.calls.append((role, inputs["image"].shape))
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
        self.running.release()
        try:
            if not self.gate.wait(PATIENCE_S):
                raise TimeoutError("the test never opened the gate")
            if self.errors:
                raise self.errors.pop(0)
            outputs = super().run(role, inputs)
            return self.spoil(role, outputs) if self.spoil else outputs
        finally:
            with self._lock:
                self.now -= 1

    def frames_run(self, role: str) -> int:
        return sum(shape[0] for name, shape in self.calls if name == role)

    def wait_until_running(self, calls: int = 1) -> None:
        for _ in range(calls):
            if not self.running.acquire(timeout=PATIENCE_S):
                raise TimeoutError("the network was never run")


class HeldDecoder:
    """Hands out futures that the test completes."""

    def __init__(self) -> None:
        self.futures: list[Future[Image]] = []
        self.submitted: list[tuple[Any, float | None, Priority]] = []

    def submit(
        self,
        content: DicomFrame | EncodedFrame,
        timeout_s: float | None = None,
        *,
        priority: Priority = Priority.ROUTINE,
    ) -> Future[Image]:
        self.submitted.append((content, timeout_s, priority))
        future: Future[Image] = Future()
        self.futures.append(future)
        return future


def pixels(level: int = 128, rows: int = 80, columns: int = 64) -> np.ndarray:
    """Return a ramp around `level`: never constant, its mean follows `level`."""
    ramp = np.linspace(0, 1, rows * columns).reshape(rows, columns)
    return (255 * ramp ** (128 / max(level, 1))).astype(np.uint8)


def image(level: int = 128, rows: int = 80, columns: int = 64) -> Image:
    return Image(
        pixels=pixels(level, rows, columns),
        bits_stored=8,
        photometric=Photometric.MONOCHROME2,
    )


def raw(level: int = 128, rows: int = 80, columns: int = 64) -> RawFrame:
    return RawFrame(
        rows=rows,
        columns=columns,
        bits_stored=8,
        is_signed=False,
        photometric=Photometric.MONOCHROME2,
        data=pixels(level, rows, columns).tobytes(),
    )


def request(
    content: Any = None,
    *,
    device: str = "",
    deadline_s: float | None = None,
    priority: Priority = Priority.ROUTINE,
    outputs: frozenset[Output] = BOTH,
    arrived_s: float = 100.0,
) -> FrameRequest:
    return FrameRequest(
        content=content or raw(),
        arrived_s=arrived_s,
        deadline_s=deadline_s,
        device=device,
        priority=priority,
        outputs=outputs,
    )


def tiny_bundle(directory: Path, spec: pb.Bundle | None = None) -> LoadedBundle:
    directory.mkdir(parents=True, exist_ok=True)
    return load_bundle(write_tiny_bundle(directory, spec or tiny_spec()))


def settings(workers: int = 2, **engine: Any) -> Settings:
    return Settings(
        engine=EngineSettings(**{"prepare_threads": 2} | engine),
        decode=DecodeSettings(workers=workers),
    )


@contextmanager
def running_engine(
    bundle: LoadedBundle,
    backend: GatedBackend,
    *,
    decoder: Any = None,
    clock: Any = None,
    switch: BackendSwitch | None = None,
    **limits: Any,
) -> Iterator[Engine]:
    """Yield an engine; on the way out the gate opens, so that it can end."""
    load_networks(backend, bundle)
    engine = Engine(
        bundle,
        switch or BackendSwitch(backend),
        decoder or HeldDecoder(),
        settings(**limits),
        clock or ManualClock(),
    )
    with engine:
        try:
            yield engine
        finally:
            backend.gate.set()


def answers(futures: Iterable[Future[Answer]]) -> list[Answer]:
    return [future.result(PATIENCE_S) for future in futures]


def started(
    engine: Engine, backend: GatedBackend, count: int = 1, **fields: Any
) -> list[Future[Answer]]:
    """Submit frames and return once a network runs the first batch of them."""
    backend.gate.clear()
    futures = [engine.submit(request(**fields)) for _ in range(count)]
    backend.wait_until_running()
    return futures


def wait_until_empty(engine: Engine) -> None:
    """Wait for the callbacks of answered frames, which run in another thread."""
    until_s = time.monotonic() + PATIENCE_S
    while engine.in_flight and time.monotonic() < until_s:
        time.sleep(0.001)
    assert engine.in_flight == 0


def wait_for_queue(engine: Engine, role: str, count: int) -> None:
    until_s = time.monotonic() + PATIENCE_S
    queue = engine._lanes[role].queue
    while len(queue) < count and time.monotonic() < until_s:
        time.sleep(0.001)
    assert len(queue) == count
