"""The engine: admits frames, moves them from stage to stage, answers each once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Self
from weakref import ReferenceType, ref

from spinert.runtime.bundle import CLASSIFIER, DETECTOR, LoadedBundle
from spinert.runtime.config import EngineSettings, Settings
from spinert.runtime.decide.verdict_from import needed_networks, verdict_from_evidence
from spinert.runtime.engine.admission import Admission, shutting_down, too_late
from spinert.runtime.engine.batching import BatchRules
from spinert.runtime.engine.decoding import Decoder, Decoding
from spinert.runtime.engine.guard import keep_serving
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.lane import Lane
from spinert.runtime.engine.preparation import Preparation
from spinert.runtime.engine.scheduler import BatchQueue
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.engine.warming import typical_tensor
from spinert.runtime.errors import Reason, Unavailable
from spinert.runtime.frame import Answer, FrameRequest, RawFrame
from spinert.runtime.recompute.pool import RecomputePool

__all__ = ["Engine"]

_SERVED = (CLASSIFIER, DETECTOR)
# One is copied while another is computed, on backends that can.
_BATCHES_AT_ONCE = 2
_ONE_BY_ONE = BatchRules(max_batch=1, max_delay_s=0.0)


class Engine:
    """Frames in, answers out, for all devices; safe for any thread.

    admission -> decode -> prepare -> a queue and a lane for each network -> decide

    Every queue is bounded by admission. Backends and decoder belong to the caller
    and must outlive the engine; a backend has loaded the bundle's networks
    (`spinert.runtime.engine.opening`) before it comes into the switch.
    """

    def __init__(
        self,
        bundle: LoadedBundle,
        switch: BackendSwitch,
        decode: Decoder,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Build an engine that is not started; use it as a context manager."""
        self.bundle = bundle
        self.on_failure: Callable[[], None] = lambda: None
        """Called, by a thread of the engine, when it can serve no more; set it
        before the start. What is in flight has been answered by then."""
        self._switch = switch
        self._clock = clock
        self._is_healthy = True
        limits = settings.engine
        self._admission: Admission[Job] = Admission(limits, clock)
        self._preparation = Preparation(
            bundle.spec,
            settings.decode,
            self._queue(_ONE_BY_ONE),
            self._hand_to_lanes,
            clock,
        )
        self._decoding = Decoding(
            decode,
            # Each decoder and each preparing thread works on one frame.
            settings.decode.workers + limits.prepare_threads,
            self._queue(_ONE_BY_ONE),
            self._preparation.put,
            clock,
        )
        self._recompute = RecomputePool(bundle, settings.backend.threads)
        self._lanes = dict(self._make_lanes(limits))
        self._prepare_threads = limits.prepare_threads
        self._threads: list[threading.Thread] = []

    @property
    def in_flight(self) -> int:
        """Frames admitted and not answered yet."""
        return len(self._admission)

    @property
    def is_healthy(self) -> bool:
        """False once a thread of the engine has given up: nothing is admitted then."""
        return self._is_healthy

    def __enter__(self) -> Self:
        """Start the threads and open admission."""
        steps = {"spinert-deadlines": self._expire}
        for i in range(self._prepare_threads):
            steps[f"spinert-prepare-{i}"] = self._preparation.step
        for role, lane in self._lanes.items():
            for i in range(_BATCHES_AT_ONCE):
                steps[f"spinert-{role}-{i}"] = lane.step
        self._threads = [
            threading.Thread(
                target=keep_serving, args=(name, step, self._give_up), name=name
            )
            for name, step in steps.items()
        ]
        for thread in self._threads:
            thread.start()
        self._admission.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop at once, answering what is in flight with SHUTTING_DOWN."""
        self.close(grace_s=0.0)

    def submit(self, request: FrameRequest) -> Future[Answer]:
        """Admit a frame without blocking; the future may be cancelled at any time.

        A frame withdrawn by `cancel` frees its place at once and reaches no network
        that is not already running it.

        Raises:
            Overloaded: No room, or the device's quota is used up.
            DeadlineExceeded: The deadline has passed already.
            Unavailable: The engine is not started, failed, or shutting down.
        """
        job = Job(
            request=request, roles=needed_networks(request.outputs, self.bundle.spec)
        )
        self._admission.admit(job)
        # A future keeps its callbacks when done. A strong reference here would keep
        # job and payload until a garbage collection; admission holds it until then.
        job.future.add_done_callback(partial(self._left, ref(job)))
        if isinstance(request.content, RawFrame):
            self._preparation.put(job)
        else:
            self._decoding.put(job)
        return job.future

    def warm_up(self) -> None:
        """Run every network once on a typical size, so that no frame pays for it.

        Raises:
            BackendError: A network does not work.
        """
        for role, lane in self._lanes.items():
            lane.run([typical_tensor(self.bundle.spec.networks[role].input)])

    def close(self, grace_s: float) -> None:
        """Stop admitting, let frames in flight finish, end the threads.

        Waiting batches are released at once. Frames that are not answered within
        `grace_s` fail with SHUTTING_DOWN; a network that is running ends first.
        Calling twice is harmless.
        """
        error = shutting_down()
        queues = [self._decoding.queue, self._preparation.queue]
        queues += [lane.queue for lane in self._lanes.values()]
        self._admission.close(error)
        for queue in queues:
            queue.drain()
        for job in self._admission.wait_until_empty(grace_s):
            job.fail(error)
        for queue in queues:
            queue.close()
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._recompute.close()

    # ------------------------------------------------------------------- stages

    def _hand_to_lanes(self, job: Job) -> None:
        if job.prepared is None or not job.roles:
            self._finish(job)
            return
        for role in job.roles:
            queue = self._lanes[role].queue
            entry = queue.put(job, job.prepared.inputs[role].size)
            job.when_leaving(partial(queue.withdraw, entry))

    def _finish(self, job: Job) -> None:
        """Decide and answer; a lane's thread must survive whatever happens."""
        start_s = self._clock()
        try:
            verdict = verdict_from_evidence(
                job.evidence(), self.bundle.spec, job.request.outputs
            )
            end_s = self._clock()
            job.record("decide", start_s, end_s)
            answer = Answer(
                verdict=verdict,
                receipt=job.receipt(end_s),
                input_sha256=job.input_sha256,
                study_uid=job.study_uid,
                runs=job.runs(),
            )
        except Exception as error:
            job.fail(error)
            return
        job.settle(answer)

    def _left(self, reference: ReferenceType[Job], _: Future[Answer]) -> None:
        if (job := reference()) is not None:
            self._admission.leave(job)
            job.leave()

    def _expire(self) -> bool:
        """Answer the frames whose deadline comes next; False once shut and empty."""
        dead = self._admission.next_expired()
        for job in dead or ():
            job.fail(too_late())
        return dead is not None

    def _give_up(self) -> None:
        self._is_healthy = False
        error = Unavailable(
            Reason.NOT_READY, "the engine has failed; restart the server, use another"
        )
        self._admission.close(error)
        for job in self._admission.wait_until_empty(0.0):
            job.fail(error)
        self.on_failure()

    # -------------------------------------------------------------------- parts

    def _queue(self, rules: BatchRules) -> BatchQueue[Job]:
        return BatchQueue(rules, self._clock, lambda job: job.fail(too_late()))

    def _make_lanes(self, limits: EngineSettings) -> Iterator[tuple[str, Lane]]:
        rules = BatchRules(
            max_batch=limits.max_batch, max_delay_s=limits.max_delay_ms / 1000
        )
        for role in _SERVED:
            yield (
                role,
                Lane(
                    role=role,
                    network=self.bundle.spec.networks[role],
                    classes=len(self.bundle.spec.classes),
                    switch=self._switch,
                    recompute=self._recompute,
                    queue=self._queue(rules),
                    clock=self._clock,
                    finish=self._finish,
                ),
            )
