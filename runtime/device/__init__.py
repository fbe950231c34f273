"""A CUDA device, as far as running compiled networks needs one.

The seam between what can be tested on any machine and what cannot: `Device` is this
contract, `spinert.runtime.device.pycuda` the only module that calls CUDA. Errors
are those of `spinert.runtime.device.errors`.

    Device ── current()            its context, for this thread
       ├── DeviceBuffer            memory of the device
       ├── PinnedBuffer            page-locked memory of the host: asynchronous copies
       ├── Stream ── Event         an order of work, and a point in it
       ├── Graph                   work recorded once and launched as a whole
       └── Module ── Kernel        programs of our own

Whoever allocates frees: nothing is freed behind its owner's back, and nothing may be
freed while a stream still uses it. All calls except `info` and `close` need the
context to be current in the calling thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from spinert.runtime.compiled.gpu import Gpu

__all__ = [
    "Device",
    "DeviceBuffer",
    "Event",
    "Graph",
    "Kernel",
    "MemoryInfo",
    "Module",
    "PinnedBuffer",
    "Stream",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryInfo:
    """Memory of the device, of all processes together."""

    free_bytes: int
    total_bytes: int


class DeviceBuffer(Protocol):
    """Memory of the device, at a fixed address."""

    @property
    def address(self) -> int:
        """The device pointer; aligned for every type."""
        ...

    @property
    def nbytes(self) -> int:
        """Its size."""
        ...

    def free(self) -> None:
        """Give it back; calling twice is harmless."""
        ...


class PinnedBuffer(Protocol):
    """Page-locked host memory, which the device reads and writes by itself."""

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        """Its bytes, shape (nbytes,); a view that must not outlive the buffer."""
        ...

    def free(self) -> None:
        """Give it back; calling twice is harmless."""
        ...


class Event(Protocol):
    """A point in a stream."""

    def record(self, stream: Stream) -> None:
        """Move it to the end of what `stream` has been given so far."""
        ...

    def synchronize(self) -> None:
        """Block until the work before it is done.

        Raises:
            DeviceLost: That work, or anything else, killed the device.
        """
        ...

    def elapsed_ms(self, since: Event) -> float:
        """Return the device's time between two events that were made timed."""
        ...

    def free(self) -> None:
        """Give it back; calling twice is harmless."""
        ...


class Stream(Protocol):
    """Work that runs in the order it was given, beside that of other streams."""

    @property
    def handle(self) -> int:
        """The `CUstream`, for libraries that enqueue by themselves."""
        ...

    def wait(self, event: Event) -> None:
        """Let what comes next wait for `event`, without blocking the host."""
        ...

    def synchronize(self) -> None:
        """Block until it is empty.

        Raises:
            DeviceLost: Its work, or anything else, killed the device.
        """
        ...

    def free(self) -> None:
        """Give it back; calling twice is harmless."""
        ...


class Graph(Protocol):
    """Work captured from a stream. It keeps the addresses it was captured with."""

    def launch(self, stream: Stream) -> None:
        """Enqueue all of it."""
        ...

    def free(self) -> None:
        """Give it back; calling twice is harmless."""
        ...


class Kernel(Protocol):
    """One program of a module."""

    def launch(
        self,
        grid: tuple[int, int],
        block: tuple[int, int],
        arguments: Sequence[int],
        stream: Stream,
    ) -> None:
        """Enqueue it on `grid` blocks of `block` threads, (x, y) each."""
        ...


class Module(Protocol):
    """Programs on the device."""

    def kernel(self, name: str, kinds: str) -> Kernel:
        """Return program `name`.

        Args:
            name: As it was compiled, extern "C".
            kinds: One letter for each parameter, as in the module struct: P an
                address, i 32 bits, q 64 bits.

        Raises:
            BackendError: There is none.
        """
        ...

    def free(self) -> None:
        """Give it back, once none of it runs; calling twice is harmless."""
        ...


class Device(Protocol):
    """One GPU; safe for any thread that made it current."""

    @property
    def gpu(self) -> Gpu:
        """Which one, and its driver."""
        ...

    @property
    def captures_graphs(self) -> bool:
        """Whether `capture` can be used here."""
        ...

    def current(self) -> AbstractContextManager[object]:
        """Make its context that of the calling thread until the block ends.

        Raises:
            DeviceLost: It is dead.
        """
        ...

    def memory(self) -> MemoryInfo:
        """Ask how much memory is free."""
        ...

    def allocate(self, nbytes: int) -> DeviceBuffer:
        """Take `nbytes` of its memory, not initialised.

        Raises:
            BackendError: DEVICE_OUT_OF_MEMORY.
        """
        ...

    def pinned(self, nbytes: int) -> PinnedBuffer:
        """Take `nbytes` of page-locked host memory, not initialised.

        Raises:
            BackendError: DEVICE_OUT_OF_MEMORY.
        """
        ...

    def stream(self) -> Stream:
        """Make a stream that does not wait for the default stream."""
        ...

    def event(self, *, timed: bool = False) -> Event:
        """Make an event; only a timed one can tell `elapsed_ms`."""
        ...

    def copy_in(
        self, to: DeviceBuffer, source: PinnedBuffer, nbytes: int, stream: Stream
    ) -> None:
        """Enqueue a copy of the first `nbytes` of `source` to the device."""
        ...

    def copy_out(
        self, to: PinnedBuffer, source: DeviceBuffer, nbytes: int, stream: Stream
    ) -> None:
        """Enqueue a copy of the first `nbytes` of `source` to the host."""
        ...

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """Record what `enqueue` gives to `stream`, without running it.

        Only calls of this thread are watched for what a capture forbids, so that
        other streams go on meanwhile.

        Raises:
            BackendError: It cannot be captured; the stream works as before.
        """
        ...

    def module(self, content: bytes) -> Module:
        """Load the programs of a fatbin.

        Raises:
            BackendError: It has none for this GPU and driver.
        """
        ...

    def check(self) -> None:
        """Wait for all work and do nothing if the device is alive.

        Raises:
            DeviceLost: It is dead.
        """
        ...

    def close(self) -> None:
        """Let go of the context; calling twice is harmless. Free what you own first."""
        ...
