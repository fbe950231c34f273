"""Programs on the device through PyCUDA; the rest of the seam is in pycuda.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from spinert.runtime.device import Stream
from spinert.runtime.device.guard import Guard

__all__ = ["PyCudaModule"]

StreamOf = Callable[[Stream], Any]
"""Returns PyCUDA's object of a stream."""


class PyCudaModule:
    """A loaded fatbin; see the Protocol `Module`."""

    def __init__(self, guard: Guard, module: Any, stream_of: StreamOf) -> None:
        """Own a pycuda.driver.Module."""
        self._guard = guard
        self._module = module
        self._stream_of = stream_of

    def kernel(self, name: str, kinds: str) -> _Kernel:
        """Look up a program and say what it takes."""
        function = self._guard.call(self._module.get_function, name)
        function.prepare(kinds)
        return _Kernel(self._guard, function, self._stream_of)

    def free(self) -> None:
        """Let go of it: PyCUDA unloads it once no kernel of it is held either."""
        self._module = None


class _Kernel:
    def __init__(self, guard: Guard, function: Any, stream_of: StreamOf) -> None:
        self._guard = guard
        self._function = function
        self._stream_of = stream_of

    def launch(
        self,
        grid: tuple[int, int],
        block: tuple[int, int],
        arguments: Sequence[int],
        stream: Stream,
    ) -> None:
        launch = self._function.prepared_async_call
        inner = self._stream_of(stream)
        self._guard.call(launch, grid, (*block, 1), inner, *arguments)
