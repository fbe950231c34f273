"""The prepare stage: decoded or raw frames in, network inputs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.raw import image_from_raw
from spinert.runtime.engine.input_hash import input_sha256
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.prepare import Prepared
from spinert.runtime.engine.scheduler import BatchQueue
from spinert.runtime.engine.stages import Watch
from spinert.runtime.errors import DeviceLost
from spinert.runtime.frame import RawFrame
from spinert.runtime.image import Image

__all__ = ["Preparation", "Prepare"]

Prepare = Callable[[Image, Iterable[str]], Prepared]
"""Makes the inputs of the networks that are named."""


class Preparation:
    """A queue of frames to prepare; any number of threads may call `step`.

    It orders frames as the queues of the networks do, so that a STAT frame does
    not wait here behind what it will overtake later.
    """

    def __init__(
        self,
        prepare: Prepare,
        limits: DecodeSettings,
        queue: BatchQueue[Job],
        hand_on: Callable[[Job], None],
        watch: Watch,
    ) -> None:
        """Hand each prepared job to `hand_on`; times are of the clock of `watch`."""
        self.queue = queue
        self._prepare = prepare
        self._limits = limits
        self._hand_on = hand_on
        self._watch = watch
        self._clock = watch.clock

    def put(self, job: Job) -> None:
        """Queue `job`: it has its image, or its content is raw."""
        entry = self.queue.put(job)
        job.when_leaving(lambda: self.queue.withdraw(entry))

    def step(self) -> bool:
        """Prepare what comes next; False once the queue is closed.

        Raises:
            DeviceLost: The accelerator is dead; the frame has been answered so.
        """
        batch = self.queue.take()
        for entry in batch.entries if batch else ():
            start_s = self._clock()
            entry.item.record("queue.prepare", entry.ticket.queued_s, start_s)
            self._serve(entry.item, start_s)
        return batch is not None

    def _serve(self, job: Job, start_s: float) -> None:
        end = self._watch(job)
        failure = self._failure(job, start_s)
        end(failure is None)
        job.drop_image()
        if failure is not None:
            job.fail(failure)
            if isinstance(failure, DeviceLost):
                # No lane may ever run again and tell.
                raise failure
            return
        try:
            self._hand_on(job)
        except Exception as error:
            job.fail(error)
            raise

    def _failure(self, job: Job, start_s: float) -> Exception | None:
        """Prepare `job`; return what went wrong."""
        try:
            image, start_s = self._image(job, start_s)
            job.input_sha256 = input_sha256(job.request.content)
            job.study_uid = image.study_uid
            prepared = self._prepare(image, job.roles)
            job.prepared = prepared
            job.when_leaving(prepared.release)
            job.record("prepare", start_s, self._clock())
        except Exception as error:
            return error
        return None

    def _image(self, job: Job, start_s: float) -> tuple[Image, float]:
        """Return the image and when it was there."""
        content = job.request.content
        if not isinstance(content, RawFrame):
            if job.image is None:
                raise ValueError("the frame is not decoded")
            return job.image, start_s
        image = image_from_raw(content, self._limits)
        decoded_s = self._clock()
        job.record("decode", start_s, decoded_s)
        return image, decoded_s
