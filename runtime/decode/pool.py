"""Decode workers as a pool: hostile frames cost their sender, nobody else."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.process import DecodeProcess
from spinert.runtime.errors import (
    DeadlineExceeded,
    Reason,
    SetupError,
    SpinertError,
    Unavailable,
)
from spinert.runtime.frame import DicomFrame, EncodedFrame, Priority
from spinert.runtime.image import Image

__all__ = ["DecodePool"]

_LOG = logging.getLogger(__name__)

_RETRY_S = (0.1, 0.5, 2.0, 5.0)
"""Pauses between attempts to start a worker that cannot start; the last repeats."""


@dataclass(frozen=True, slots=True)
class _Job:
    content: DicomFrame | EncodedFrame
    expires_s: float | None
    future: Future[Image] = field(default_factory=Future)


class DecodePool:
    """Decodes DICOM, PNG and JPEG frames in `settings.workers` confined processes.

    Each process is owned by one thread of this one, which replaces it when it dies,
    hangs or is taken over. Frames wait in one queue, STAT first. The workers start
    at once; leave the `with` block or call `close` to end them.
    """

    def __init__(self, settings: DecodeSettings) -> None:
        """Start the workers; `wait_ready` tells when they can decode."""
        self._settings = settings
        self._jobs: queue.PriorityQueue[tuple[int, int, _Job | None]] = (
            queue.PriorityQueue()
        )
        self._sequence = itertools.count()
        self._state = threading.Condition()
        self._ready = 0
        self._failure: SetupError | None = None
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"decode-{i}", daemon=True)
            for i in range(settings.workers)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> DecodePool:
        """Return the pool, whose workers are starting."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the pool."""
        self.close()

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until every worker can decode.

        Raises:
            SetupError: A worker cannot start.
        """
        with self._state:
            self._state.wait_for(
                lambda: self._failure or self._ready == len(self._threads), timeout_s
            )
            if self._failure is not None:
                raise self._failure
            if self._ready < len(self._threads):
                raise SetupError(
                    Reason.CONFIG_INVALID,
                    f"decode workers did not start within {timeout_s:g} s; use fewer "
                    "(decode.workers)",
                )

    def submit(
        self,
        content: DicomFrame | EncodedFrame,
        timeout_s: float | None = None,
        *,
        priority: Priority = Priority.ROUTINE,
    ) -> Future[Image]:
        """Queue a frame for decoding. May be called from any thread.

        Args:
            content: The frame; its bytes must not change before the future is done,
                nor while the image lives, which may share them.
            timeout_s: How long it may wait for a worker; beyond, it is dropped
                undecoded. Decoding itself is bound by `settings.timeout_s`.
            priority: STAT overtakes ROUTINE in the queue.

        Returns:
            A future that can be cancelled as long as the frame waits. It fails with
            FrameRefused, DeadlineExceeded or Unavailable.
        """
        expires_s = None if timeout_s is None else time.monotonic() + timeout_s
        job = _Job(content, expires_s)
        with self._state:
            refusal = self._refusal()
            if refusal is None:
                self._jobs.put((-priority, next(self._sequence), job))
        if refusal is not None:
            job.future.set_exception(refusal)
        return job.future

    def close(self) -> None:
        """Serve what was accepted and not cancelled, then end the workers."""
        with self._state:
            if not self._is_closed:
                self._is_closed = True
                for _ in self._threads:
                    # Behind every frame, whatever its priority.
                    self._jobs.put((1, next(self._sequence), None))
            self._state.notify_all()
        for thread in self._threads:
            thread.join()

    def _refusal(self) -> Unavailable | None:
        if self._is_closed:
            return _shutting_down()
        if self._failure is not None and self._ready == 0:
            return Unavailable(Reason.NOT_READY, "no decode worker can start; retry")
        return None

    def _serve(self) -> None:
        """Own one worker: keep it running and feed it."""
        worker = self._started()
        while (job := self._jobs.get()[2]) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            if worker is None:
                job.future.set_exception(_shutting_down())
                continue
            _decode(worker, job)
            if not worker.is_alive:
                _LOG.warning("a decode worker ended; starting another")
                with self._state:
                    self._ready -= 1
                worker = self._started()
        if worker is not None:
            worker.close()

    def _started(self) -> DecodeProcess | None:
        """Return a worker that can decode; None if the pool closes before."""
        for attempt in itertools.count():
            try:
                worker = DecodeProcess(self._settings)
                worker.wait_ready()
            except SetupError as error:
                failure = error
            except OSError:
                failure = SetupError(
                    Reason.CONFIG_INVALID,
                    "the system refuses to start decode workers; raise its limits of "
                    "processes and open files",
                )
            else:
                with self._state:
                    self._ready += 1
                    self._failure = None
                    self._state.notify_all()
                return worker
            pause_s = _RETRY_S[min(attempt, len(_RETRY_S) - 1)]
            with self._state:
                self._failure = failure
                self._state.notify_all()
                if self._state.wait_for(lambda: self._is_closed, pause_s):
                    return None
        return None


def _decode(worker: DecodeProcess, job: _Job) -> None:
    if job.expires_s is not None and time.monotonic() > job.expires_s:
        job.future.set_exception(
            DeadlineExceeded(
                Reason.DEADLINE_EXCEEDED, "the frame waited too long to be decoded"
            )
        )
        return
    try:
        job.future.set_result(worker.decode(job.content))
    except SpinertError as error:
        job.future.set_exception(error)
    except Exception as error:
        # A bug: the caller must learn of it, and the worker's state is unknown.
        worker.close()
        job.future.set_exception(error)


def _shutting_down() -> Unavailable:
    return Unavailable(Reason.SHUTTING_DOWN, "the server is shutting down")
