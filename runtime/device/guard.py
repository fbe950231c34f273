"""Every CUDA call goes through here: typed errors, and a dead device stays dead."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from spinert.runtime.device.errors import (
    STICKY,
    UNKNOWN,
    CudaFailure,
    device_lost,
    error_from_failure,
)
from spinert.runtime.errors import BackendError, DeviceLost

__all__ = ["Guard"]

P = ParamSpec("P")
T = TypeVar("T")


class Guard:
    """Translates the failures of one device and remembers the one that ended it.

    Safe for any thread. Once the device is lost no call reaches CUDA any more: what a
    dead context would do with it is not defined.
    """

    def __init__(
        self,
        failure_from_exception: Callable[[Exception], CudaFailure | None],
        is_alive: Callable[[], bool],
    ) -> None:
        """Guard a device that is alive.

        Args:
            failure_from_exception: Reads what the binding raised; None for an
                exception that is not CUDA's, which passes unchanged.
            is_alive: Asks the context itself, after an error that is not known.
        """
        self._failure_from_exception = failure_from_exception
        self._is_alive = is_alive
        self._cause = ""

    @property
    def is_lost(self) -> bool:
        """Whether the device is dead."""
        return bool(self._cause)

    def require_alive(self) -> None:
        """Do nothing on a device that is alive.

        Raises:
            DeviceLost: It is dead.
        """
        if self._cause:
            raise device_lost(self._cause)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function`, which calls CUDA.

        Raises:
            DeviceLost: The device is dead, or died of this.
            BackendError: The call failed; the device lives.
        """
        self.require_alive()
        try:
            return function(*args, **kwargs)
        except Exception as error:
            failure = self._failure_from_exception(error)
            if failure is None:
                raise
            raise self.error(failure) from error

    def error(self, failure: CudaFailure) -> BackendError | DeviceLost:
        """Return the error to raise for `failure`; the device may be dead from now."""
        if failure.code == UNKNOWN and not self._is_alive():
            # It may be the context that is dead, or the code may be newer than ours.
            error_from_failure(failure)
            self._cause = failure.text or "CUDA_ERROR_UNKNOWN"
            return device_lost(self._cause)
        if failure.is_sticky:
            self._cause = STICKY[failure.code]
        return error_from_failure(failure)

    def release(self, function: Callable[[], object]) -> None:
        """Call `function`, which gives something back; not on a dead device.

        A dead context has given everything back, and its owner must be able to let go
        of the rest: a failure here is remembered and logged, not raised.
        """
        if self._cause:
            return
        try:
            function()
        except Exception as error:
            failure = self._failure_from_exception(error)
            if failure is None:
                raise
            self.error(failure)
