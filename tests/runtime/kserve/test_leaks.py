"""Ten thousand requests, good and bad, leave nothing behind."""

import asyncio
import gc
import os
import sys
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import numpy as np
from support.fronts import answer_with, identity
from support.kserves import MONOCHROME2, frame_image, request_of, set_parameter

from spinert.runtime.config import ServerSettings, Settings
from spinert.runtime.engine.tensors import TensorAnswer
from spinert.runtime.errors import SpinertError
from spinert.runtime.kserve.calls import Call, Received
from spinert.runtime.kserve.opening import (
    inference_from_engine,
    repository_from_bundle,
)
from spinert.runtime.server.peer_regions import PeerRegions
from spinert.runtime.server.region_rules import limits_from_server_settings
from spinert.runtime.server.regions import Regions
from spinert.runtime.verdict import NetworkRun, Receipt

CYCLES = 10_000
PIXELS = frame_image()
NETWORK = np.zeros((2, 1, 32, 32), np.uint8)


class InstantEngine:
    """Answers at once, or never while it is held."""

    def __init__(self):
        self.is_held = False
        self.waiting = []

    def submit(self, request):
        return self._settled(answer_with())

    def submit_tensor(self, request, content):
        return self._settled(
            TensorAnswer(
                outputs={"logits": np.zeros(2, np.float32)},
                receipt=Receipt(stages=(), batches=(), total_s=0.001),
                run=NetworkRun(network="classifier", backend="", precision=""),
            )
        )

    def _settled(self, answer):
        future = Future()
        if self.is_held:
            self.waiting.append(future)
        else:
            future.set_result(answer)
        return future


def placed(request, region, size):
    del request.raw_input_contents[:]
    set_parameter(request.inputs[0].parameters["shared_memory_region"], region)
    set_parameter(request.inputs[0].parameters["shared_memory_byte_size"], size)
    return request


def spine():
    return request_of("spine", {"image": PIXELS}, parameters=MONOCHROME2)


def classifier(images=NETWORK):
    return request_of("classifier", {"image": images})


class Cycles:
    def __init__(self, bundle, regions, key):
        self.engine = InstantEngine()
        settings = Settings()
        self.repository = repository_from_bundle(bundle, settings)
        self.inference = inference_from_engine(
            self.engine, bundle, settings, identity, time.monotonic
        )
        self.memory = PeerRegions(regions, "ipv4:127.0.0.1:1")
        self.key = key
        self.requests = [
            spine(),
            classifier(),
            placed(spine(), "in", PIXELS.nbytes),
            placed(spine(), "in", PIXELS.nbytes + 1),
            placed(spine(), "other", PIXELS.nbytes),
            placed(classifier(), "in", NETWORK.nbytes),
            classifier(NETWORK[:, :, :16]),
            request_of("classifier", {"picture": NETWORK}),
            request_of("spine", {"frame": b"no file"}),
            request_of("spine", {"image": PIXELS}),
        ]

    async def run(self, cycles):
        for i in range(cycles):
            self.memory.local().register("in", self.key, 0, PIXELS.nbytes)
            self.engine.is_held = i % 3 == 0
            answer = asyncio.ensure_future(self._answer(i))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if self.engine.waiting:
                answer.cancel()
                await asyncio.wait([answer])
                for future in self.engine.waiting:
                    assert future.cancelled()
                self.engine.waiting.clear()
            with suppress(SpinertError, asyncio.CancelledError):
                await answer
            self.memory.local().unregister_all()

    async def _answer(self, number):
        request = self.requests[number % len(self.requests)]
        model = self.repository.usable(request.model_name, "")
        received = Received(request=request, raw_contents=request.raw_input_contents)
        call = Call(peer="ipv4:127.0.0.1:1", remaining_s=None)
        return await self.inference.answer(received, model, self.memory, call)


def test_ten_thousand_requests_leave_nothing_behind(bundle):
    server = ServerSettings(shared_memory=True)
    regions = Regions(limits_from_server_settings(server, os.geteuid()))
    memory = Path(f"/dev/shm/spinert-leaks-{os.getpid()}")
    memory.touch(0o600, exist_ok=False)
    memory.write_bytes(PIXELS.tobytes())
    cycles = Cycles(bundle, regions, f"/{memory.name}")
    try:
        asyncio.run(cycles.run(100))
        before, open_files = left_behind()
        asyncio.run(cycles.run(CYCLES))
        after, still_open = left_behind()
    finally:
        memory.unlink()
        regions.close()
    assert still_open <= open_files
    assert after - before < CYCLES / 20
    for model in ("spine", "classifier"):
        stats = cycles.inference.tallies[model].wire().inference_stats
        assert min(stats.fail.count, stats.success.count) > CYCLES / 20


def left_behind():
    """Return how many blocks of memory are in use, and how many files."""
    gc.collect()
    return sys.getallocatedblocks(), len(list(Path("/proc/self/fd").iterdir()))
