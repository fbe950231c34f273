"""Live views: only the newest frame that has not been started is worth starting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from spinert.runtime.engine.job import Job
from spinert.runtime.errors import Reason, Superseded

__all__ = ["LiveViews"]


@dataclass(slots=True)
class _View:
    ahead: Job
    """On its way to a network."""
    following: Job | None = None
    """Starts once a network has begun with that, or it was answered."""


class LiveViews:
    """Of each view one frame on its way and one that waits; safe for any thread.

    The next frame takes the place of the one that waits, never of the one on its
    way: else a view that is faster than the way to the network would get no answer.
    Frames of one view come one after the other.
    """

    def __init__(self, admit: Callable[[Job, Job | None], None]) -> None:
        """Start without any.

        Args:
            admit: Lets a frame in, if there is one instead of another, or raises and
                changes nothing.
        """
        self._admit = admit
        self._views: dict[str, _View] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Count the views with a frame that no network has begun with."""
        return len(self._views)

    def enter(self, job: Job) -> bool:
        """Admit a frame of a view; True: it starts now, False: it waits.

        The one that waited before is answered: superseded.

        Raises:
            RefusedNow: It cannot come in; the one that waits goes on waiting.
        """
        name = job.request.live_view
        with self._lock:
            view = self._views.get(name)
            waited = view.following if view else None
            self._admit(job, waited)
            if view is None:
                self._views[name] = _View(job)
            else:
                view.following = job
        if waited is not None:
            waited.fail(_superseded())
        return view is None

    def advance(self, job: Job) -> Job | None:
        """Note that a network has begun with a frame, or that it was answered.

        Returns:
            The frame that waited for it, to be started now.
        """
        name = job.request.live_view
        with self._lock:
            view = self._views.get(name)
            if view is None:
                return None
            if view.following is job:
                view.following = None
            elif view.ahead is job:
                if view.following is None:
                    del self._views[name]
                    return None
                view.ahead, view.following = view.following, None
                return view.ahead
        return None


def _superseded() -> Superseded:
    return Superseded(
        Reason.SUPERSEDED, "a newer frame of this live view came before its turn"
    )
