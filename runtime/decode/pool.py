"""Decode workers as a pool: hostile frames cost their sender, nobody else."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from concurrent.futures import Future
from types import TracebackType

from spinert.runtime.config import DecodeSettings
from spinert.runtime.decode.process import DecodeProcess, WorkerLost
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


class _Job:
    """A frame that waits; its bytes go when it is done or withdrawn."""

    def __init__(
        self, content: DicomFrame | EncodedFrame, expires_s: float | None
    ) -> None:
        self.contents = contents = [content]
        self.expires_s = expires_s
        self.future: Future[Image] = Future()
        # The list alone: a future keeps its callbacks, and would keep the job.
        self.future.add_done_callback(lambda _: contents.clear())


class DecodePool:
    """Decodes DICOM, PNG and JPEG frames in `settings.workers` confined processes.

    Each process is owned by one thread of this one, which replaces it when it dies,
    hangs or is taken over. Frames wait in one queue, STAT first. The workers start
    at once; leave the `with` block or call `close` to end them.
    """

    def __init__(self, settings: DecodeSettings) -> None:
        """Start the workers; `wait_ready` tells when they can decode."""
        self._settings = settings
        self._jobs: list[tuple[int, int, _Job]] = []
        """A heap: STAT first, then in order of arrival."""
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
                entry = (-priority, next(self._sequence), job)
                heapq.heappush(self._jobs, entry)
                self._state.notify_all()
        if refusal is not None:
            job.future.set_exception(refusal)
        return job.future

    def close(self) -> None:
        """Serve what was accepted and not cancelled, then end the workers."""
        with self._state:
            self._is_closed = True
            self._state.notify_all()
        for thread in self._threads:
            thread.join()

    def _refusal(self) -> Unavailable | None:
        if self._is_closed:
            return _shutting_down()
        if self._failure is not None and self._ready == 0:
            return _no_worker()
        return None

    def _serve(self) -> None:
        """Own one worker: keep it running and feed it."""
        worker = self._started()
        while self._wait_for_job():
            worker = self._replaced(worker)
            if (job := self._next_job()) is not None:
                worker = self._answer(worker, job)
            del job  # or the last frame stays until the next one comes
            # Now, so that the next frame does not have to wait for it.
            worker = self._replaced(worker)
        if worker is not None:
            worker.close()

    def _wait_for_job(self) -> bool:
        """Wait for a frame; False once the pool is closed and all are served."""
        with self._state:
            self._state.wait_for(lambda: self._jobs or self._is_closed)
            return bool(self._jobs)

    def _next_job(self) -> _Job | None:
        with self._state:
            while self._jobs:
                job = heapq.heappop(self._jobs)[2]
                if job.future.set_running_or_notify_cancel():
                    return job
            return None

    def _replaced(self, worker: DecodeProcess | None) -> DecodeProcess | None:
        """Return `worker`, or another if it has ended and is still needed."""
        if worker is None or worker.is_alive:
            return worker
        with self._state:
            if self._is_closed and not self._jobs:
                return worker
        return self._restarted()

    def _restarted(self) -> DecodeProcess | None:
        _LOG.warning("a decode worker ended; starting another")
        with self._state:
            self._ready -= 1
        return self._started()

    def _answer(self, worker: DecodeProcess | None, job: _Job) -> DecodeProcess | None:
        """Answer `job`, if need be with a second worker; return the last one."""
        if worker is None:
            job.future.set_exception(_shutting_down())
            return None
        outcome = _outcome(worker, job)
        if isinstance(outcome, WorkerLost):
            worker = self._restarted()
            outcome = _shutting_down() if worker is None else _outcome(worker, job)
        if isinstance(outcome, WorkerLost):
            outcome = _no_worker()
        if isinstance(outcome, Image):
            job.future.set_result(outcome)
        else:
            job.future.set_exception(outcome)
        return worker

    def _started(self) -> DecodeProcess | None:
        """Return a worker that can decode; None if the pool closes before."""
        for attempt in itertools.count():
            try:
                worker = DecodeProcess(self._settings)
                worker.wait_ready()
            except SetupError as error:
                failure = error
            except Exception as error:
                _LOG.error("a decode worker cannot start: %s", type(error).__name__)
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
            if attempt == 0:
                _LOG.error("%s", failure.message)
            pause_s = _RETRY_S[min(attempt, len(_RETRY_S) - 1)]
            self._refuse_waiting(failure)
            with self._state:
                if self._state.wait_for(lambda: self._is_closed, pause_s):
                    return None
        return None

    def _refuse_waiting(self, failure: SetupError) -> None:
        """Note `failure`; without any worker, nobody would serve what waits."""
        with self._state:
            self._failure = failure
            waiting = [] if self._ready else self._jobs
            self._jobs = self._jobs if self._ready else []
            self._state.notify_all()
        for _, _, job in waiting:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(_no_worker())


def _outcome(worker: DecodeProcess, job: _Job) -> Image | Exception:
    if job.expires_s is not None and time.monotonic() > job.expires_s:
        return DeadlineExceeded(
            Reason.DEADLINE_EXCEEDED, "the frame waited too long to be decoded"
        )
    try:
        return worker.decode(job.contents[0])
    except (SpinertError, WorkerLost) as error:
        return error
    except Exception as error:
        # A bug: the caller must learn of it, and the worker's state is unknown.
        worker.close()
        return error


def _no_worker() -> Unavailable:
    return Unavailable(Reason.NOT_READY, "no decode worker can start; retry")


def _shutting_down() -> Unavailable:
    return Unavailable(Reason.SHUTTING_DOWN, "the server is shutting down")
