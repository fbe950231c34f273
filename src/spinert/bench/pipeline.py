"""The two levels below a server, in this process: the engine, and bare networks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Semaphore
from typing import Any

import numpy as np

from spinert import __version__
from spinert.bench.frames import LoadFrame
from spinert.bench.outcomes import Outcome, stages_from_receipt
from spinert.proto import bundle_pb2
from spinert.proto import inference_pb2 as pb
from spinert.runtime.backends import Arrays, Backend
from spinert.runtime.bundle import LoadedBundle
from spinert.runtime.config import Settings
from spinert.runtime.decode.pool import DecodePool
from spinert.runtime.engine.engine import Engine
from spinert.runtime.engine.opening import opened_backend
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.errors import SpinertError
from spinert.runtime.frame import Answer, FrameRequest
from spinert.runtime.preprocess.canvas import placement
from spinert.runtime.preprocess.network_input import PREPROCESSING
from spinert.runtime.replies import (
    FrameNames,
    Identity,
    identity_from_bundle,
    result_from_answer,
)

__all__ = ["Networks", "Pipeline", "opened_pipeline"]

_DEVICE = "bench"


class Networks:
    """The networks of a backend without anything around them."""

    def __init__(self, bundle: LoadedBundle, backend: Backend) -> None:
        """Run what `backend` has loaded of `bundle`."""
        self.bundle = bundle
        self.backend = backend
        self.roles = tuple(sorted(bundle.spec.networks))
        at_once = backend.capabilities.concurrent_networks
        self._pool = ThreadPoolExecutor(len(self.roles) if at_once else 1)

    def close(self) -> None:
        """End the threads; the backend belongs to the caller."""
        self._pool.shutdown()

    def inputs(self, frame: LoadFrame, batch: int = 1) -> dict[str, Arrays]:
        """Return graph inputs as `frame` would make them, by role.

        The pixels are a ramp: what a network costs depends on the size alone, but
        for the rounds that an in-graph suppression takes.
        """
        return {
            role: _inputs(self.bundle.spec.networks[role].input, frame, batch)
            for role in self.roles
        }

    def run_s(self, inputs: dict[str, Arrays]) -> float:
        """Run all networks once, at the same time where the engine would."""
        start = time.perf_counter()
        running = [
            self._pool.submit(self.backend.run, role, fed)
            for role, fed in inputs.items()
        ]
        for future in running:
            future.result()
        return time.perf_counter() - start


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The engine of a server without a server."""

    engine: Engine
    networks: Networks
    identity: Identity

    def closed_loop(
        self, frames: Sequence[LoadFrame], *, count: int, depth: int
    ) -> list[Outcome]:
        """Analyse `count` frames in turn, `depth` in flight."""
        room = Semaphore(depth)
        waiting: deque[tuple[int, float, Future[Answer], list[float]]] = deque()
        for number in range(count):
            room.acquire()
            index = number % len(frames)
            start_s, ended = time.perf_counter(), list[float]()
            future = self._submitted(frames[index])
            future.add_done_callback(_stamp(ended, room))
            waiting.append((index, start_s, future, ended))
        return [_outcome(*entry) for entry in waiting]

    def answers(self, frames: Sequence[LoadFrame]) -> list[pb.Result | str]:
        """Return the answer to each frame as it would be sent, or why there is none."""
        found: list[pb.Result | str] = []
        for frame in frames:
            try:
                answer = self._submitted(frame).result()
            except SpinertError as error:
                found.append(str(error.reason))
                continue
            found.append(result_from_answer(answer, self.identity, FrameNames()))
        return found

    def _submitted(self, frame: LoadFrame) -> Future[Answer]:
        request = FrameRequest(
            content=frame.content, arrived_s=time.monotonic(), device=_DEVICE
        )
        try:
            return self.engine.submit(request)
        except SpinertError as error:
            refused: Future[Answer] = Future()
            refused.set_exception(error)
            return refused


@contextmanager
def opened_pipeline(bundle: LoadedBundle, settings: Settings) -> Iterator[Pipeline]:
    """Yield an engine as a server with `settings` would run it, warmed up.

    Raises:
        BackendUnavailable: The backend cannot load the bundle.
        SetupError: No decode process can start.
    """
    with (
        DecodePool(settings.decode) as pool,
        opened_backend(bundle, settings) as backend,
        Engine(bundle, BackendSwitch(backend), pool, settings) as engine,
    ):
        pool.wait_ready()
        engine.warm_up()
        networks = Networks(bundle, backend)
        identity = identity_from_bundle(
            bundle,
            backend.capabilities,
            preprocessing=PREPROCESSING,
            runtime_version=__version__,
        )
        try:
            yield Pipeline(engine=engine, networks=networks, identity=identity)
        finally:
            networks.close()


def _stamp(ended: list[float], room: Semaphore) -> Callable[[Future[Answer]], None]:
    def done(_: Future[Answer]) -> None:
        ended.append(time.perf_counter())
        room.release()

    return done


def _outcome(
    frame: int, start_s: float, future: Future[Answer], ended: list[float]
) -> Outcome:
    told: dict[str, Any]
    try:
        told = stages_from_receipt(future.result().receipt)
    except SpinertError as error:
        told = {"reason": str(error.reason)}
    while not ended:
        # The result is there a moment before its callbacks have run.
        time.sleep(0)
    return Outcome(frame=frame, due_s=start_s, sent_s=start_s, ended_s=ended[0], **told)


def _inputs(network: bundle_pb2.NetworkInput, frame: LoadFrame, batch: int) -> Arrays:
    place = placement(frame.rows, frame.columns, network.canvas)
    is_grey = network.element_type == bundle_pb2.ELEMENT_UINT8
    channels = 1 if is_grey else len(network.mean)
    ramp = np.linspace(0, 255 if is_grey else 1, place.width)
    shape = (batch, channels, place.height, place.width)
    image = np.broadcast_to(ramp, shape)
    fed = {"image": image.astype(np.uint8 if is_grey else np.float32)}
    if network.takes_image_size:
        size = (place.valid_height, place.valid_width)
        fed["image_size"] = np.array([size] * batch, np.int32)
    return fed
