"""Where frames come in and are seen off, whatever becomes of them in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any
from weakref import ReferenceType, ref

from spinert.runtime.engine.admission import Admission
from spinert.runtime.engine.job import Job
from spinert.runtime.engine.live_views import LiveViews
from spinert.runtime.engine.refusal import too_late

__all__ = ["Entrance"]


class Entrance:
    """Starts frames that admission lets in, those of a live view in their turn.

    Safe for any thread.
    """

    def __init__(self, admission: Admission[Job], start: Callable[[Job], None]) -> None:
        """Hand frames to `start`, once each, on whatever thread makes way for them."""
        self._admission = admission
        self._start = start
        self._live_views = LiveViews(admission.admit)

    def enter(self, job: Job) -> None:
        """Let a frame in without blocking.

        Raises:
            RefusedNow: As `Admission.admit`.
        """
        starts = True
        if job.request.live_view:
            starts = self._live_views.enter(job)
        else:
            self._admission.admit(job)
        # A future keeps its callbacks when done. A strong reference here would keep
        # job and payload until a garbage collection; admission holds it until then.
        job.future.add_done_callback(partial(self._left, ref(job)))
        if starts:
            self._start(job)

    def begin(self, role: str, jobs: Sequence[Job]) -> Callable[[], None]:
        """Note that a network begins with frames; call what comes back at its end."""
        end = self._admission.begin(role, jobs)
        for job in jobs:
            self._make_way(job)
        return end

    def give_up_on(self, job: Job) -> None:
        """Answer a frame that would be late."""
        self._admission.missed(job)
        job.fail(too_late())

    def expire(self) -> bool:
        """Answer the frames whose deadline comes next; False once shut and empty."""
        dead = self._admission.next_expired()
        for job in dead or ():
            job.fail(too_late())
        return dead is not None

    def _left(self, reference: ReferenceType[Job], _: Future[Any]) -> None:
        if (job := reference()) is not None:
            self._admission.leave(job)
            job.leave()
            self._make_way(job)

    def _make_way(self, job: Job) -> None:
        """Start the frame of a live view that waited for `job`."""
        if not job.request.live_view:
            return
        following = self._live_views.advance(job)
        if following is not None:
            self._start(following)
