"""The device seam over PyCUDA, with CUDA graphs from cuda.bindings.

PyCUDA has no graphs (2026.1), so capture and launch go through `cuda.bindings.driver`
on the same stream handles. The primary context is used, which the CUDA runtime inside
TensorRT uses as well. PyCUDA raises with the driver's text instead of its code: the
code is looked up, and where the text says nothing the context is asked whether it
still works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spinert.runtime.compiled.gpu import Gpu, gpu_of_this_machine
from spinert.runtime.device import (
    DeviceBuffer,
    Event,
    MemoryInfo,
    PinnedBuffer,
    Stream,
)
from spinert.runtime.device.cuda_graphs import CudaGraph, GraphApi, load_graph_api
from spinert.runtime.device.errors import CODES_BY_TEXT, UNKNOWN, CudaFailure
from spinert.runtime.device.guard import Guard
from spinert.runtime.device.pycuda_kernels import PyCudaModule
from spinert.runtime.errors import BackendUnavailable, Reason

__all__ = ["PyCudaDevice", "open_pycuda_device"]

_NON_BLOCKING: Final = 1
"""CU_STREAM_NON_BLOCKING: no implicit wait for the default stream."""
_BLOCKING_SYNC: Final = 1
"""CU_EVENT_BLOCKING_SYNC: a waiting thread sleeps instead of spinning."""
_DISABLE_TIMING: Final = 2


def open_pycuda_device(index: int = 0) -> PyCudaDevice:
    """Open GPU `index` of those this process may see.

    CUDA graphs need the package cuda-bindings; without it `captures_graphs` is false.

    Raises:
        BackendUnavailable: No driver, no such GPU, or PyCUDA is not installed.
    """
    gpu = gpu_of_this_machine(index)
    try:
        driver = import_module("pycuda.driver")
    except ImportError as error:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            "PyCUDA is not installed; run: pip install 'spinert[tensorrt]', which "
            "compiles it with the CUDA toolkit's nvcc and headers",
        ) from error
    try:
        driver.init()
        context = driver.Device(index).retain_primary_context()
    except driver.Error as error:
        raise BackendUnavailable(
            Reason.BACKEND_UNAVAILABLE,
            f"{gpu.name} cannot be opened ({_text(error)}); check it with nvidia-smi",
        ) from error
    return PyCudaDevice(gpu, driver, context, load_graph_api())


class PyCudaDevice:
    """One GPU through PyCUDA; see the Protocol `Device`."""

    def __init__(
        self, gpu: Gpu, driver: Any, context: Any, graphs: GraphApi | None
    ) -> None:
        """Use `context`, retained by the caller, until `close`.

        Args:
            gpu: What it is.
            driver: The module pycuda.driver.
            context: A primary context, not pushed.
            graphs: CUDA graphs; None where they are not to be had.
        """
        self._gpu = gpu
        self._driver = driver
        self._context = context
        self._graphs = graphs
        self._codes = {**CODES_BY_TEXT, **(graphs.texts() if graphs else {})}
        self._guard = Guard(self._failure_from_exception, self._is_alive)
        self._is_open = True

    @property
    def gpu(self) -> Gpu:
        """Which one, and its driver."""
        return self._gpu

    @property
    def captures_graphs(self) -> bool:
        """Whether cuda.bindings is there."""
        return self._graphs is not None

    @contextmanager
    def current(self) -> Iterator[None]:
        """Push the context for this thread, pop it at the end."""
        self._guard.call(self._context.push)
        try:
            yield
        finally:
            # Of a dead device, too: PyCUDA aborts a process that ends with a context
            # on its stack.
            with suppress(self._driver.Error):
                self._driver.Context.pop()

    def memory(self) -> MemoryInfo:
        """Ask how much memory is free."""
        free, total = self._guard.call(self._driver.mem_get_info)
        return MemoryInfo(free_bytes=free, total_bytes=total)

    def allocate(self, nbytes: int) -> DeviceBuffer:
        """Take device memory."""
        memory = self._guard.call(self._driver.mem_alloc, max(nbytes, 1))
        return _DeviceBuffer(self._guard, memory, nbytes)

    def pinned(self, nbytes: int) -> PinnedBuffer:
        """Take page-locked host memory."""
        empty = self._driver.pagelocked_empty
        array = self._guard.call(empty, max(nbytes, 1), np.uint8)
        return _PinnedBuffer(self._guard, array, nbytes)

    def stream(self) -> Stream:
        """Make a stream beside the default stream."""
        stream = self._guard.call(self._driver.Stream, _NON_BLOCKING)
        return _Stream(self._guard, stream)

    def event(self, *, timed: bool = False) -> Event:
        """Make an event."""
        flags = _BLOCKING_SYNC if timed else _BLOCKING_SYNC | _DISABLE_TIMING
        return _Event(self._guard, self._guard.call(self._driver.Event, flags))

    def copy_in(
        self, to: DeviceBuffer, source: PinnedBuffer, nbytes: int, stream: Stream
    ) -> None:
        """Enqueue a copy to the device."""
        copy = self._driver.memcpy_htod_async
        self._guard.call(copy, to.address, source.array[:nbytes], _inner(stream))

    def copy_out(
        self, to: PinnedBuffer, source: DeviceBuffer, nbytes: int, stream: Stream
    ) -> None:
        """Enqueue a copy to the host."""
        copy = self._driver.memcpy_dtoh_async
        self._guard.call(copy, to.array[:nbytes], source.address, _inner(stream))

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> CudaGraph:
        """Record what `enqueue` gives to `stream`.

        Raises:
            BackendUnavailable: cuda.bindings is not installed.
        """
        if self._graphs is None:
            raise BackendUnavailable(
                Reason.BACKEND_UNAVAILABLE,
                "CUDA graphs need cuda-bindings; run: pip install cuda-bindings",
            )
        return self._graphs.capture(self._guard, stream, enqueue)

    def module(self, content: bytes) -> PyCudaModule:
        """Load a fatbin; the driver chooses the code for this GPU."""
        loaded = self._guard.call(self._driver.module_from_buffer, content)
        return PyCudaModule(self._guard, loaded, _inner)

    def check(self) -> None:
        """Wait for all work of the context."""
        self._guard.call(self._driver.Context.synchronize)

    def close(self) -> None:
        """Release the primary context, whichever thread calls."""
        if not self._is_open:
            return
        self._is_open = False
        with suppress(self._driver.Error):
            # From any thread, it releases only a context that is current there.
            self._context.push()
            self._context.detach()

    def _is_alive(self) -> bool:
        try:
            self._driver.Context.synchronize()
        except self._driver.Error:
            return False
        return True

    def _failure_from_exception(self, error: Exception) -> CudaFailure | None:
        if not isinstance(error, self._driver.Error):
            return None
        # "cuMemAlloc failed: out of memory", perhaps with " - more" after it.
        call, _, rest = str(error).partition(" failed: ")
        text = rest.partition(" - ")[0]
        return CudaFailure(call=call, code=self._codes.get(text, UNKNOWN), text=text)


class _DeviceBuffer:
    def __init__(self, guard: Guard, memory: Any, nbytes: int) -> None:
        self._guard = guard
        self._memory = memory
        self.nbytes = nbytes
        self.address = int(memory)

    def free(self) -> None:
        if self._memory is not None:
            self._guard.release(self._memory.free)
            self._memory = None


class _PinnedBuffer:
    def __init__(
        self, guard: Guard, memory: npt.NDArray[np.uint8], nbytes: int
    ) -> None:
        self._guard = guard
        self._memory: Any = memory
        self.array = memory[:nbytes]

    def free(self) -> None:
        if self._memory is not None:
            self._guard.release(self._memory.base.free)
            self._memory = None
            self.array = np.empty(0, np.uint8)


class _Event:
    def __init__(self, guard: Guard, event: Any) -> None:
        self._guard = guard
        self.inner = event

    def record(self, stream: Stream) -> None:
        self._guard.call(self.inner.record, _inner(stream))

    def synchronize(self) -> None:
        self._guard.call(self.inner.synchronize)

    def elapsed_ms(self, since: Event) -> float:
        return float(self._guard.call(self.inner.time_since, _inner(since)))

    def free(self) -> None:
        self.inner = None


class _Stream:
    def __init__(self, guard: Guard, stream: Any) -> None:
        self._guard = guard
        self.inner = stream
        self.handle = int(stream.handle)

    def wait(self, event: Event) -> None:
        self._guard.call(self.inner.wait_for_event, _inner(event))

    def synchronize(self) -> None:
        self._guard.call(self.inner.synchronize)

    def free(self) -> None:
        self.inner = None


def _inner(wrapped: Stream | Event) -> Any:
    """Return PyCUDA's object; streams and events come from this module alone."""
    if not isinstance(wrapped, (_Stream, _Event)):
        raise TypeError("a stream or event of another device")
    return wrapped.inner


def _text(error: Exception) -> str:
    return str(error).partition(" failed: ")[2] or type(error).__name__
