"""A lane runs one network: batches in, one output or error per frame out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.engine.costs import CostModel
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.on_device import FrameInput, host_tensor, run_batch
from spinert.runtime.engine.outputs import (
    FrameOutput,
    Unconverged,
    frame_outputs_from_batch,
)
from spinert.runtime.engine.prepare import NetworkTensor
from spinert.runtime.engine.refusal import shutting_down
from spinert.runtime.engine.scheduler import Batch, BatchQueue, Waiting
from spinert.runtime.engine.switch import BackendSwitch
from spinert.runtime.errors import BackendError, DeviceLost, Reason, SpinertError
from spinert.runtime.recompute.pool import Recomputed, RecomputePool
from spinert.runtime.verdict import BatchRecord, NetworkRun, ReleaseReason

__all__ = ["Lane"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ran:
    """What came of one batch."""

    outputs: Sequence[FrameOutput | Unconverged | BackendError]
    run: NetworkRun


@dataclass(frozen=True, kw_only=True, slots=True)
class _Done:
    """Frames that ran together, or one that failed alone."""

    entries: Sequence[Waiting[Job]]
    ran: _Ran | Exception
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """One network of the bundle, and its queue."""

    role: str
    network: pb.Network
    classes: int
    switch: BackendSwitch
    recompute: RecomputePool
    queue: BatchQueue[Job]
    clock: Callable[[], float]
    finish: Callable[[Job], None]
    """Called with each job that has all outputs."""
    begin: Callable[[Sequence[Job]], Callable[[], None]] = lambda jobs: lambda: None
    """Told what is about to run; gives what to call once it has."""
    costs: CostModel = field(default_factory=CostModel)
    """Learns from what ran."""

    def run(self, tensors: Sequence[FrameInput]) -> _Ran:
        """Run one batch on one backend and check what comes back.

        Raises:
            BackendError: The network failed or its outputs are not valid.
        """
        spec = self.network.input
        try:
            with self.switch.using() as source:
                # Whose turn it was before does not count.
                start_s = self.clock()
                outputs = run_batch(source.backend, self.role, spec, tensors)
                run, end_s = source.run_of(self.role), self.clock()
        except SpinertError:
            raise
        except Exception as error:
            logger.exception("network %s failed", self.role)
            raise BackendError(
                Reason.NETWORK_FAILED,
                f"network {self.role!r} failed; run `spinert verify` on the bundle",
            ) from error
        self.costs.observe(
            tensors[0].size,
            len(tensors),
            start_s=start_s,
            end_s=end_s,
            origin=run,
        )
        checked = frame_outputs_from_batch(
            self.role, self.network, self.classes, len(tensors), outputs
        )
        return _Ran(outputs=checked, run=run)

    def run_alike(self, tensor: FrameInput, count: int) -> None:
        """Run a batch of `count` times the same.

        Raises:
            BackendError: As `run`.
        """
        self.run([tensor] * count)

    def step(self) -> bool:
        """Serve the batch that comes next; False once the queue is closed.

        Any number of threads may call it: while one decides what a batch became,
        the next batch runs.

        Raises:
            DeviceLost: The accelerator is dead; the batch has been answered so.
        """
        done: list[_Done] = []
        with self.switch.slot(self.role):
            batch = self.queue.take()
            if batch is None:
                return False
            failure = self._run_all(batch, done)
        try:
            for part in done:
                self._deliver(part, batch.reason)
            if failure is not None:
                raise failure
        except Exception as error:
            for entry in batch.entries:
                entry.item.fail(error)
            raise
        return True

    def _run_all(self, batch: Batch[Job], done: list[_Done]) -> Exception | None:
        """Run a batch into `done`; return what keeps the rest of it from running."""
        try:
            # A frame may be withdrawn between leaving the queue and this line.
            self._serve([e for e in batch.entries if e.item.is_awaited], done)
        except Exception as error:
            return error
        return None

    def _serve(self, entries: Sequence[Waiting[Job]], done: list[_Done]) -> None:
        if not entries:
            return
        start_s = self.clock()
        ran = self._attempt(entries)
        if isinstance(ran, Exception) and len(entries) > 1:
            # Whose fault it is shows when each frame runs alone.
            for entry in entries:
                self._serve([entry] if entry.item.is_awaited else [], done)
            return
        done.append(
            _Done(entries=entries, ran=ran, start_s=start_s, end_s=self.clock())
        )

    def _attempt(self, entries: Sequence[Waiting[Job]]) -> _Ran | Exception:
        """Run `entries`; return what went wrong.

        Raises:
            DeviceLost: Nothing can run here any more.
        """
        end = self.begin([entry.item for entry in entries])
        try:
            return self.run([_tensor(entry.item, self.role) for entry in entries])
        except DeviceLost:
            raise
        except Exception as error:
            return error
        finally:
            end()

    def _deliver(self, done: _Done, reason: ReleaseReason) -> None:
        entries, ran = done.entries, done.ran
        if isinstance(ran, Exception):
            entries[0].item.fail(ran)
            return
        for slot, (entry, output) in enumerate(zip(entries, ran.outputs, strict=True)):
            job = entry.item
            job.record(f"queue.{self.role}", entry.ticket.queued_s, done.start_s)
            job.record(self.role, done.start_s, done.end_s)
            if isinstance(output, BackendError):
                job.fail(output)
                continue
            record = BatchRecord(
                network=self.role,
                size=len(entries),
                slot=slot,
                height=entry.ticket.size[0],
                width=entry.ticket.size[1],
                reason=reason,
            )
            if isinstance(output, Unconverged):
                self._recompute(job, record, ran.run)
            elif job.deliver(output, record, ran.run):
                self.finish(job)

    def _recompute(self, job: Job, record: BatchRecord, run: NetworkRun) -> None:
        """Have the frame computed in another way, while the lane goes on."""
        if not self.recompute.can(self.role):
            job.fail(_unconverged(self.role))
            return
        start_s = self.clock()
        try:
            tensor = self._on_host(job)
        except BackendError as error:
            job.fail(error)
            return
        future = self.recompute.submit(self.role, tensor)
        future.add_done_callback(partial(self._recomputed, job, record, run, start_s))
        job.when_leaving(future.cancel)

    def _on_host(self, job: Job) -> NetworkTensor:
        frame = _tensor(job, self.role)
        if isinstance(frame, NetworkTensor):
            return frame
        with self.switch.using() as source:
            return host_tensor(source.backend, self.role, frame)

    def _recomputed(
        self,
        job: Job,
        record: BatchRecord,
        run: NetworkRun,
        start_s: float,
        future: Future[Recomputed],
    ) -> None:
        if future.cancelled():
            job.fail(shutting_down())
            return
        if error := future.exception():
            job.fail(error)
            return
        found = future.result()
        job.record(f"recompute.{self.role}", start_s, self.clock())
        told = replace(
            run,
            backend=found.backend,
            precision=found.precision,
            engine_key="",
            is_recomputed=True,
        )
        if job.deliver(found.output, record, told):
            self.finish(job)


def _tensor(job: Job, role: str) -> FrameInput:
    if job.prepared is None:
        raise ValueError("the frame is not prepared")
    return job.prepared.input_of(role)


def _unconverged(role: str) -> BackendError:
    return BackendError(
        Reason.NETWORK_FAILED,
        f"network {role!r} did not converge on this frame, and its bundle has no "
        "split graphs to recompute it",
    )
