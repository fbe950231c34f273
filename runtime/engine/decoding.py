"""The decode stage: hands files to the decoders, no more than memory allows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from spinert.runtime.engine.job import Job
from spinert.runtime.engine.refusal import shutting_down
from spinert.runtime.engine.scheduler import BatchQueue, Waiting
from spinert.runtime.engine.stages import Watch
from spinert.runtime.frame import (
    DicomFrame,
    EncodedFrame,
    Priority,
    RawFrame,
    TensorFrame,
)
from spinert.runtime.image import Image

__all__ = ["Decoder", "Decoding", "DecodingRoom"]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingRoom:
    """How many files at a time."""

    workers: int
    """In the decoder."""
    images: int
    """In the decoder, or decoded and still to be prepared."""


class Decoding:
    """Files that wait, and what they wait for: a worker, and a place for the image.

    The decoder is given no more files than it works on, so that all others stand in
    an ordinary queue of the engine (STAT first, fair between devices, forgotten when
    withdrawn) and the time of a file in the decoder is what decoding takes.

    A decoded image may be a hundred times its file, so that admission, which counts
    bytes as they arrive, cannot bound it. A frame takes a place before its file goes
    to the decoder and returns it once it is prepared or withdrawn.

    There is no thread: whoever brings a file, or frees a worker or a place, passes on
    what can go.
    """

    def __init__(
        self,
        decode: Decoder,
        room: DecodingRoom,
        queue: BatchQueue[Job],
        hand_on: Callable[[Job], None],
        watch: Watch,
    ) -> None:
        """Hand each decoded job to `hand_on`; times are of the clock of `watch`."""
        self.queue = queue
        self._decode = decode
        self._workers = room.workers
        self._places = room.images
        self._hand_on = hand_on
        self._watch = watch
        self._clock = watch.clock
        self._lock = threading.Lock()
        self._is_passing_on = False

    def put(self, job: Job) -> None:
        """Queue `job`, whose content is a file."""
        entry = self.queue.put(job)
        job.when_leaving(partial(self.queue.withdraw, entry))
        self._pass_on()

    def _pass_on(self) -> None:
        """Send files to the decoder while there are files, workers and places.

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
            is_free = self._workers and self._places
            batch = self.queue.take_now() if is_free else None
            if batch is None:
                return None
            self._is_passing_on = True
            self._workers -= 1
            self._places -= 1
            return batch.entries[0]

    def _free(self, *, workers: int = 0, places: int = 0) -> None:
        with self._lock:
            self._workers += workers
            self._places += places
        self._pass_on()

    def _free_place(self) -> None:
        self._free(places=1)

    def _start(self, job: Job, queued_s: float) -> None:
        request = job.request
        late_s, start_s = request.deadline_s, self._clock()
        job.record("queue.decode", queued_s, start_s)
        left_s = None if late_s is None else max(0.0, late_s - start_s)
        end = self._watch(job)
        try:
            if isinstance(request.content, RawFrame | TensorFrame):
                raise TypeError("only files are decoded here")
            decoding = self._decode.submit(
                request.content, left_s, priority=request.priority
            )
        except Exception as error:
            end(False)
            job.fail(error)
            self._free(workers=1, places=1)
            return
        job.when_leaving(decoding.cancel)
        decoding.add_done_callback(partial(self._decoded, job, start_s, end))

    def _decoded(
        self,
        job: Job,
        start_s: float,
        end: Callable[[bool], None],
        decoding: Future[Image],
    ) -> None:
        job.record("decode", start_s, self._clock())
        if decoding.cancelled():
            end(False)
            self._free(workers=1, places=1)
            job.fail(shutting_down())  # unless the job has left, which cancels it too
        elif error := decoding.exception():
            end(False)
            self._free(workers=1, places=1)
            job.fail(error)
        else:
            end(True)
            job.keep_image(decoding.result(), self._free_place)
            self._hand_on(job)
            self._free(workers=1)
