"""The engine: admits frames, moves them from stage to stage, answers each once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Self

from spinert.runtime.bundle import CLASSIFIER, DETECTOR, LoadedBundle
from spinert.runtime.config import EngineSettings, Settings
from spinert.runtime.decide.verdict_from import needed_networks
from spinert.runtime.engine.admission import Admission
from spinert.runtime.engine.answering import answer_from_job
from spinert.runtime.engine.costs import CostModel, Costs
from spinert.runtime.engine.decoding import Decoder, Decoding, DecodingRoom
from spinert.runtime.engine.durations import Durations
from spinert.runtime.engine.entrance import Entrance
from spinert.runtime.engine.guard import keep_serving
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.lane import Lane
from spinert.runtime.engine.on_device import prepared_frame
from spinert.runtime.engine.preparation import Preparation
from spinert.runtime.engine.refusal import shutting_down
from spinert.runtime.engine.scheduler import BatchQueue
from spinert.runtime.engine.stages import (
    DECODE,
    PREPARE,
    Watch,
    job_outlook,
    learn_costs,
)
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.engine.tensors import TensorAnswer, tensor_job
from spinert.runtime.engine.ticket import BatchRules
from spinert.runtime.engine.warming import typical_tensor
from spinert.runtime.errors import Reason, Unavailable
from spinert.runtime.frame import Answer, FrameRequest, RawFrame, TensorFrame
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
        workers = settings.decode.workers
        self._costs = {role: CostModel() for role in _SERVED}
        self._durations = {
            DECODE: Durations(workers),
            PREPARE: Durations(limits.prepare_threads),
        }
        outlook = job_outlook(self._costs, self._durations, limits.max_batch)
        self._admission: Admission[Job] = Admission(limits, clock, outlook)
        self._entrance = Entrance(self._admission, self._start)
        self._queue = partial(
            BatchQueue[Job], clock=clock, on_doomed=self._entrance.give_up_on
        )
        self._preparation = Preparation(
            partial(prepared_frame, switch, bundle.spec),
            settings.decode,
            self._queue(_ONE_BY_ONE),
            self._hand_to_lanes,
            self._watch(PREPARE),
        )
        self._decoding = Decoding(
            decode,
            # Each decoder and each preparing thread has one image.
            DecodingRoom(workers=workers, images=workers + limits.prepare_threads),
            self._queue(_ONE_BY_ONE),
            self._preparation.put,
            self._watch(DECODE),
        )
        self._recompute = RecomputePool(bundle, settings.backend.threads)
        self._lanes = dict(self._make_lanes(limits))
        self._prepare_threads = limits.prepare_threads
        self._max_batch = limits.max_batch
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
        steps = {"spinert-deadlines": self._entrance.expire}
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
        that is not already running it. One of a live view waits while another of it
        is on its way to a network; the one that waited before it fails with
        Superseded.

        Raises:
            Overloaded: No room, the device's quota is used up, or the frame could not
                be answered before its deadline.
            DeadlineExceeded: The deadline has passed already.
            Unavailable: The engine is not started, failed, or shutting down.
        """
        job = Job(
            request=request, roles=needed_networks(request.outputs, self.bundle.spec)
        )
        self._entrance.enter(job)
        return job.future

    def submit_tensor(
        self, request: FrameRequest, content: TensorFrame
    ) -> Future[TensorAnswer]:
        """Admit one sample for one network alone; for the rest as `submit`.

        Args:
            request: Its content is `content`; the outputs it asks for do not matter.
            content: Of a network of this bundle, in the type and size of its inputs.

        Raises:
            RefusedNow: As `submit`.
        """
        job = tensor_job(request, content)
        self._entrance.enter(job)
        return job.future

    def warm_up(self) -> None:
        """Run every network on a typical size, so that no frame pays for it.

        What batches cost is learned on the way, as far as that is cheap.

        Raises:
            BackendError: A network does not work.
        """
        for role, lane in self._lanes.items():
            tensor = typical_tensor(self.bundle.spec.networks[role].input)
            learn_costs(partial(lane.run_alike, tensor), self._max_batch)

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

    def _start(self, job: Job) -> None:
        if job.prepared is not None:
            self._hand_to_lanes(job)
        elif isinstance(job.request.content, RawFrame):
            self._preparation.put(job)
        else:
            self._decoding.put(job)

    def _hand_to_lanes(self, job: Job) -> None:
        if job.prepared is None or not job.roles:
            self._finish(job)
            return
        for role in job.roles:
            queue = self._lanes[role].queue
            entry = queue.put(job, job.prepared.input_of(role).size)
            job.when_leaving(partial(queue.withdraw, entry))

    def _finish(self, job: Job) -> None:
        """Decide and answer; a lane's thread must survive whatever happens."""
        try:
            answer = answer_from_job(job, self.bundle.spec, self._clock)
        except Exception as error:
            job.fail(error)
            return
        job.settle(answer)

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

    def _watch(self, stage: str) -> Watch:
        return Watch(
            name=stage,
            durations=self._durations[stage],
            begin=self._admission.begin,
            clock=self._clock,
        )

    def _make_lanes(self, limits: EngineSettings) -> Iterator[tuple[str, Lane]]:
        rules = BatchRules(
            max_batch=limits.max_batch, max_delay_s=limits.max_delay_ms / 1000
        )
        for role, model in self._costs.items():
            yield (
                role,
                Lane(
                    role=role,
                    network=self.bundle.spec.networks[role],
                    classes=len(self.bundle.spec.classes),
                    switch=self._switch,
                    recompute=self._recompute,
                    queue=self._queue(rules, costs=partial(_costs_of, model)),
                    clock=self._clock,
                    finish=self._finish,
                    begin=partial(self._entrance.begin, role),
                    costs=model,
                ),
            )


def _costs_of(model: CostModel) -> Costs:
    return model.costs
