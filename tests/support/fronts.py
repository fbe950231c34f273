"""A real front over a scripted engine, on a free loopback port."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from spinert.proto import inference_pb2 as pb
from spinert.runtime.config import ServerSettings, Settings
from spinert.runtime.errors import Overloaded, Reason
from spinert.runtime.frame import Answer, FrameRequest
from spinert.runtime.replies import Identity
from spinert.runtime.server.front import Front
from spinert.runtime.server.options import Patience
from spinert.runtime.server.service import limits_from_settings
from spinert.runtime.server.stream import Serving
from spinert.runtime.verdict import (
    Assessment,
    Box,
    Decision,
    Finding,
    Member,
    Receipt,
    Stage,
    Verdict,
)
from support.bundles import tiny_spec


def answer_with(probability: float = 0.5, *, study_uid: str = "") -> Answer:
    abnormal = probability >= 0.28
    return Answer(
        verdict=Verdict(
            abnormal_probability=probability,
            members=(Member(name="first", logit=0.0, probability=0.5),),
            decision=Decision.ABNORMAL if abnormal else Decision.NORMAL,
            threshold=0.28,
            assessment=Assessment.ABNORMAL if abnormal else Assessment.NORMAL,
            findings=(
                Finding(
                    class_index=1,
                    score=0.75,
                    box=Box(x_min=1, y_min=2, x_max=3, y_max=4),
                ),
            ),
            suppressed=(),
            notes=frozenset(),
            reverse_fusion_score=None,
            rows=10,
            columns=20,
        ),
        receipt=Receipt(
            stages=(Stage(name="decide", start_s=0.001, duration_s=0.002),),
            batches=(),
            total_s=0.003,
        ),
        input_sha256="ab" * 32,
        study_uid=study_uid,
    )


@dataclass
class ScriptedEngine:
    """Answers at once, or when the test says so; remembers what it was given.

    `outcome` is an Answer, an exception for the future, or a callable of the
    request that returns either; `refusal` is raised from submit.
    """

    outcome: object = field(default_factory=answer_with)
    refusal: Exception | None = None
    is_held: bool = False
    requests: list[FrameRequest] = field(default_factory=list)
    futures: list[Future[Answer]] = field(default_factory=list)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def submit(self, request: FrameRequest) -> Future[Answer]:
        if self.refusal is not None:
            raise self.refusal
        future: Future[Answer] = Future()
        self.requests.append(request)
        self.futures.append(future)
        if not self.is_held:
            self.finish(len(self.futures) - 1)
        self.arrived.release()
        return future

    async def has(self, count: int) -> None:
        """Wait until that many more frames have arrived."""
        for _ in range(count):
            if not await asyncio.to_thread(self.arrived.acquire, timeout=10):
                raise TimeoutError("no frame arrived within 10 s")

    def finish(self, index: int) -> None:
        outcome = self.outcome
        if callable(outcome):
            outcome = outcome(self.requests[index])
        if isinstance(outcome, BaseException):
            self.futures[index].set_exception(outcome)
        else:
            self.futures[index].set_result(outcome)  # type: ignore[arg-type]


class BusyEngine(ScriptedEngine):
    """Has no room for every other frame, `busy` times in all."""

    busy = 0
    asked = 0

    def submit(self, request):
        self.asked += 1
        if self.busy and self.asked % 2:
            self.busy -= 1
            error = Overloaded(Reason.QUEUE_FULL, "retry later")
            error.retry_after_ms = 5
            raise error
        return super().submit(request)


def identity() -> Identity:
    return Identity(
        classes=tuple(tiny_spec().classes),
        provenance=pb.Provenance(bundle_name="tiny", backend="scripted 1"),
        networks=(pb.NetworkInfo(role="classifier", architecture="fake"),),
    )


@asynccontextmanager
async def serving_front(
    engine: ScriptedEngine,
    settings: ServerSettings | None = None,
    patience: Patience | None = None,
) -> AsyncIterator[Front]:
    settings = settings or ServerSettings(listen="127.0.0.1:0")
    limits = limits_from_settings(Settings(server=settings))
    async with Front(settings, limits, patience) as front:
        await front.serve(
            Serving(engine=engine, identity=identity, clock=time.monotonic)
        )
        yield front


@contextmanager
def front_in_a_thread(
    engine: ScriptedEngine, settings: ServerSettings | None = None
) -> Iterator[Front]:
    """Yield a front that runs on an event loop of its own."""
    up, stop = threading.Event(), asyncio.Event()
    running: list[tuple[Front, asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        async with serving_front(engine, settings) as front:
            running.append((front, asyncio.get_running_loop()))
            up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    up.wait()
    [(front, loop)] = running
    try:
        yield front
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
