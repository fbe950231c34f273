"""The decode stage: hands files to the decoders, no more than memory allows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Protocol

from spinert.runtime.engine.admission import shutting_down
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.scheduler import BatchQueue, Waiting
from spinert.runtime.frame import DicomFrame, EncodedFrame, Priority, RawFrame
from spinert.runtime.image import Image

__all__ = ["Decoder", "Decoding"]


class Decoder(Protocol):
    """Turns files into images, somewhere else."""

    def submit(
        self,
        content: DicomFrame | EncodedFrame,
        timeout_s: float | None = None,
        *,
        priority: Priority = Priority.ROUTINE,
    ) -> Future[Image]:
        """Decode without blocking the caller; cancelling may spare the work.

        Args:
            content: The file.
            timeout_s: After this it need not be decoded any more.
            priority: STAT overtakes what waits.
        """
        ...


class Decoding:
    """Files that wait for a place, and the places: frames being decoded or decoded.

    A decoded image may be a hundred times its file, so that admission, which counts
    bytes as they arrive, cannot bound it. A frame takes one of `places` before its
    file goes to the decoder and returns it once it is prepared or withdrawn. Waiting
    files stand in an ordinary queue of the engine: STAT first, fair between devices,
    forgotten when withdrawn. There is no thread: whoever brings a file or frees a
    place passes on what can go.
    """

    def __init__(
        self,
        decode: Decoder,
        places: int,
        queue: BatchQueue[Job],
        hand_on: Callable[[Job], None],
        clock: Callable[[], float],
    ) -> None:
        """Hand each decoded job to `hand_on`; times are of `clock`."""
        self.queue = queue
        self._decode = decode
        self._free = places
        self._hand_on = hand_on
        self._clock = clock
        self._lock = threading.Lock()
        self._is_passing_on = False

    def put(self, job: Job) -> None:
        """Queue `job`, whose content is a file."""
        entry = self.queue.put(job)
        job.when_leaving(partial(self.queue.withdraw, entry))
        self._pass_on()

    def _pass_on(self) -> None:
        """Send files to the decoder while there are both files and places.

        One thread does it for all, so that frames that fail at once do not nest.
        """
        with self._lock:
            if self._is_passing_on:
                return
            self._is_passing_on = True
        while (entry := self._next()) is not None:
            self._start(entry.item, entry.ticket.queued_s)

    def _next(self) -> Waiting[Job] | None:
        with self._lock:
            self._is_passing_on = False
            batch = self.queue.take_now() if self._free else None
            if batch is None:
                return None
            self._is_passing_on = True
            self._free -= 1
            return batch.entries[0]

    def _free_place(self) -> None:
        with self._lock:
            self._free += 1
        self._pass_on()

    def _start(self, job: Job, queued_s: float) -> None:
        request = job.request
        late_s = request.deadline_s
        left_s = None if late_s is None else max(0.0, late_s - self._clock())
        try:
            if isinstance(request.content, RawFrame):
                raise TypeError("raw frames are not decoded here")
            decoding = self._decode.submit(
                request.content, left_s, priority=request.priority
            )
        except Exception as error:
            job.fail(error)
            self._free_place()
            return
        job.when_leaving(decoding.cancel)
        decoding.add_done_callback(partial(self._decoded, job, queued_s))

    def _decoded(self, job: Job, queued_s: float, decoding: Future[Image]) -> None:
        job.record("decode", queued_s, self._clock())
        if decoding.cancelled():
            self._free_place()
            job.fail(shutting_down())  # unless the job has left, which cancels it too
        elif error := decoding.exception():
            self._free_place()
            job.fail(error)
        else:
            job.keep_image(decoding.result(), self._free_place)
            self._hand_on(job)
