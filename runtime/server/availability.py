"""Whether a service answers calls: not before it is ready, and not while it drains."""

from __future__ import annotations

from typing import Generic, TypeVar

from spinert.runtime.engine.refusal import shutting_down
from spinert.runtime.errors import Reason, Unavailable

__all__ = ["Availability"]

T = TypeVar("T")


class Availability(Generic[T]):
    """Holds `T`, which answers the calls of a service, from `start` until `drain`."""

    def __init__(self) -> None:
        """Begin as a server that is starting."""
        self._serving: T | None = None
        self._is_draining = False

    @property
    def is_serving(self) -> bool:
        """Whether calls are answered."""
        return self._serving is not None and not self._is_draining

    def start(self, serving: T) -> None:
        """Have calls answered by `serving` from now on."""
        self._serving = serving

    def drain(self) -> None:
        """Refuse calls from now on, for good."""
        self._is_draining = True

    def ready(self) -> T:
        """Return what answers a call.

        Raises:
            Unavailable: NOT_READY or SHUTTING_DOWN.
        """
        if self._is_draining:
            raise shutting_down()
        if self._serving is None:
            raise Unavailable(
                Reason.NOT_READY, "the server is starting; wait until it is ready"
            )
        return self._serving
