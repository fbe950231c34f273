"""A lane runs one network: batches in, one output or error per frame out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.engine.admission import shutting_down
from spinert.runtime.engine.batch_inputs import batch_inputs
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.outputs import (
    FrameOutput,
    Unconverged,
    frame_outputs_from_batch,
)
from spinert.runtime.engine.prepare import NetworkTensor
from spinert.runtime.engine.scheduler import BatchQueue, Waiting
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

    def run(self, tensors: Sequence[NetworkTensor]) -> _Ran:
        """Run one batch on one backend and check what comes back.

        Raises:
            BackendError: The network failed or its outputs are not valid.
        """
        inputs = batch_inputs(self.network.input, tensors)
        try:
            with self.switch.using() as source:
                outputs = source.backend.run(self.role, inputs)
                run = source.run_of(self.role)
        except SpinertError:
            raise
        except Exception as error:
            logger.exception("network %s failed", self.role)
            raise BackendError(
                Reason.NETWORK_FAILED,
                f"network {self.role!r} failed; run `spinert verify` on the bundle",
            ) from error
        checked = frame_outputs_from_batch(
            self.role, self.network, self.classes, len(tensors), outputs
        )
        return _Ran(outputs=checked, run=run)

    def step(self) -> bool:
        """Serve the batch that comes next; False once the queue is closed.

        Any number of threads may call it.

        Raises:
            DeviceLost: The accelerator is dead; the batch has been answered so.
        """
        with self.switch.slot(self.role):
            batch = self.queue.take()
            if batch is None:
                return False
            try:
                self._serve(batch.entries, batch.reason)
            except Exception as error:
                for entry in batch.entries:
                    entry.item.fail(error)
                raise
            return True

    def _serve(self, batch: Sequence[Waiting[Job]], reason: ReleaseReason) -> None:
        # A frame may be withdrawn between leaving the queue and this line.
        entries = [entry for entry in batch if entry.item.is_live]
        if not entries:
            return
        start_s = self.clock()
        ran = self._attempt(entries)
        if isinstance(ran, Exception):
            if len(entries) == 1:
                entries[0].item.fail(ran)
                return
            # Whose fault it is shows when each frame runs alone.
            for entry in entries:
                self._serve([entry], reason)
            return
        self._deliver(entries, ran, start_s, reason)

    def _attempt(self, entries: Sequence[Waiting[Job]]) -> _Ran | Exception:
        """Run `entries`; return what went wrong.

        Raises:
            DeviceLost: Nothing can run here any more.
        """
        try:
            return self.run([_tensor(entry.item, self.role) for entry in entries])
        except DeviceLost:
            raise
        except Exception as error:
            return error

    def _deliver(
        self,
        entries: Sequence[Waiting[Job]],
        ran: _Ran,
        start_s: float,
        reason: ReleaseReason,
    ) -> None:
        end_s = self.clock()
        for slot, (entry, output) in enumerate(zip(entries, ran.outputs, strict=True)):
            job = entry.item
            job.record(f"queue.{self.role}", entry.ticket.queued_s, start_s)
            job.record(self.role, start_s, end_s)
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
        future = self.recompute.submit(self.role, _tensor(job, self.role))
        future.add_done_callback(partial(self._recomputed, job, record, run, start_s))
        job.when_leaving(future.cancel)

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


def _tensor(job: Job, role: str) -> NetworkTensor:
    if job.prepared is None:
        raise ValueError("the frame is not prepared")
    return job.prepared.inputs[role]


def _unconverged(role: str) -> BackendError:
    return BackendError(
        Reason.NETWORK_FAILED,
        f"network {role!r} did not converge on this frame, and its bundle has no "
        "split graphs to recompute it",
    )
