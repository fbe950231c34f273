"""A lane runs one network: batches in, one output or error per frame out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from spinert.proto import bundle_pb2 as pb
from spinert.runtime.backends import Arrays, Backend
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.outputs import FrameOutput, frame_outputs_from_batch
from spinert.runtime.engine.prepare import NetworkTensor
from spinert.runtime.engine.scheduler import BatchQueue, Waiting
from spinert.runtime.errors import BackendError, Reason, SpinertError
from spinert.runtime.verdict import BatchRecord, ReleaseReason

__all__ = ["Lane", "batch_inputs"]

logger = logging.getLogger(__name__)


def batch_inputs(network: pb.NetworkInput, tensors: Sequence[NetworkTensor]) -> Arrays:
    """Stack frames of equal size into graph inputs (bundle.proto's contract).

    Returns:
        `image` (N,C,H,W) and, where the network takes it, `image_size` int32 (N,2)
        with the valid (height, width).
    """
    inputs = {"image": np.stack([tensor.pixels for tensor in tensors])}
    if network.takes_image_size:
        sizes = [
            (tensor.placement.valid_height, tensor.placement.valid_width)
            for tensor in tensors
        ]
        inputs["image_size"] = np.array(sizes, np.int32)
    return inputs


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """One network of the bundle, and its queue."""

    role: str
    network: pb.Network
    classes: int
    backend: Backend
    queue: BatchQueue[Job]
    turn: AbstractContextManager[object]
    """Held while the network runs; shared where the backend runs one at a time."""
    clock: Callable[[], float]
    finish: Callable[[Job], None]
    """Called with each job that has all outputs."""

    def run(self, tensors: Sequence[NetworkTensor]) -> list[FrameOutput | BackendError]:
        """Run one batch and check what comes back.

        Raises:
            BackendError: The network failed or its outputs are not valid.
        """
        inputs = batch_inputs(self.network.input, tensors)
        try:
            with self.turn:
                outputs = self.backend.run(self.role, inputs)
        except SpinertError:
            raise
        except Exception as error:
            logger.exception("network %s failed", self.role)
            raise BackendError(
                Reason.NETWORK_FAILED,
                f"network {self.role!r} failed; run `spinert verify` on the bundle",
            ) from error
        return frame_outputs_from_batch(
            self.role, self.network, self.classes, len(tensors), outputs
        )

    def step(self) -> bool:
        """Serve the batch that comes next; False once the queue is closed."""
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
        outputs = self._attempt(entries)
        if isinstance(outputs, Exception):
            if len(entries) == 1:
                entries[0].item.fail(outputs)
                return
            # Whose fault it is shows when each frame runs alone.
            for entry in entries:
                self._serve([entry], reason)
            return
        self._deliver(entries, outputs, start_s, reason)

    def _attempt(
        self, entries: Sequence[Waiting[Job]]
    ) -> list[FrameOutput | BackendError] | Exception:
        """Run `entries`; return what went wrong."""
        try:
            return self.run([_tensor(entry.item, self.role) for entry in entries])
        except Exception as error:
            return error

    def _deliver(
        self,
        entries: Sequence[Waiting[Job]],
        outputs: Sequence[FrameOutput | BackendError],
        start_s: float,
        reason: ReleaseReason,
    ) -> None:
        end_s = self.clock()
        for slot, (entry, output) in enumerate(zip(entries, outputs, strict=True)):
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
            if job.deliver(self.role, output, record):
                self.finish(job)


def _tensor(job: Job, role: str) -> NetworkTensor:
    if job.prepared is None:
        raise ValueError("the frame is not prepared")
    return job.prepared.inputs[role]
