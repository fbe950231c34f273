"""A CUDA device in host memory that does as late as possible what it was asked for.

Work given to a stream runs only when someone waits for it, or for something that
waits for it: code that forgets to wait reads what was there before, and code that
frees or rewrites what a stream still needs is caught. Memory is poisoned when it is
taken and when it is freed. Every call goes through the real `Guard`, so that planted
CUDA errors take the way of real ones.
"""

from __future__ import annotations

import itertools
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spinert.runtime.compiled.gpu import Gpu
from spinert.runtime.device import MemoryInfo
from spinert.runtime.device.errors import STICKY, CudaFailure
from spinert.runtime.device.guard import Guard
from support.emulated_kernels import emulated_launch

GPU = Gpu(name="Fake GPU", sm="86", uuid="GPU-0", driver="13.0")
_POISON = 0xA5
_ALIGNMENT = 256


class Misuse(BaseException):
    """The code under test broke a rule of CUDA; no handler may swallow it."""


class FakeCudaError(Exception):
    """What a binding would raise."""

    def __init__(self, failure: CudaFailure) -> None:
        super().__init__(failure.text)
        self.failure = failure


@dataclass
class Operation:
    """Work of a stream."""

    name: str
    run: Callable[[], None]
    uses: tuple[FakeMemory, ...] = ()


class FakeMemory:
    """A buffer of either side."""

    def __init__(self, device: FakeDevice, nbytes: int, address: int) -> None:
        self.device = device
        self.nbytes = nbytes
        self.address = address
        self.is_free = False
        self.pending = 0
        # What lies around it must stay poison, too.
        self._around = np.full(nbytes + 2 * _ALIGNMENT, _POISON, np.uint8)
        self._array = self._around[_ALIGNMENT : _ALIGNMENT + nbytes]

    @property
    def array(self) -> Any:
        if self.is_free:
            raise Misuse("memory is used after it was freed")
        return self._array

    def free(self) -> None:
        if self.is_free:
            return
        self.device.guard.release(lambda: self.device.called("free"))
        if self.pending and not self.device.guard.is_lost:
            raise Misuse("memory is freed while a stream still uses it")
        self.is_free = True
        self._array[:] = _POISON
        if (self._around != _POISON).any():
            raise Misuse("something wrote beside this memory")
        self.device.memories.discard(self)


@dataclass(eq=False)
class FakeStream:
    device: FakeDevice
    handle: int
    waiting: deque[Operation] = field(default_factory=deque)
    captured: list[Operation] | None = None
    is_free: bool = False
    done: int = 0
    given: int = 0

    def give(self, operation: Operation) -> None:
        if self.is_free:
            raise Misuse("a stream is used after it was freed")
        if self.captured is not None:
            self.captured.append(operation)
            return
        with self.device.counting:
            for memory in operation.uses:
                memory.array  # noqa: B018 - raises if it is freed
                memory.pending += 1
            self.waiting.append(operation)
            self.given += 1

    def run_until(self, position: int) -> None:
        while self.done < position:
            operation = self.waiting.popleft()
            self.done += 1
            operation.run()
            with self.device.counting:
                for memory in operation.uses:
                    memory.pending -= 1
            self.device.ran.append(operation.name)

    def wait(self, event: FakeEvent) -> None:
        self.device.call("wait")
        stream, position = event.point()
        self.give(Operation("wait", lambda: stream.run_until(position)))

    def synchronize(self) -> None:
        self.device.call("stream_synchronize")
        with self.device.running:
            if self.captured is not None:
                raise Misuse("a stream is synchronised while it is captured")
            self.run_until(self.given)

    def free(self) -> None:
        if not self.is_free:
            self.device.guard.release(lambda: self.device.called("free"))
            if self.waiting and not self.device.guard.is_lost:
                raise Misuse("a stream is freed with work in it")
            self.is_free = True
            self.device.streams.pop(self.handle)


@dataclass(eq=False)
class FakeEvent:
    device: FakeDevice
    recorded: tuple[FakeStream, int] | None = None
    is_free: bool = False

    def point(self) -> tuple[FakeStream, int]:
        if self.is_free or self.recorded is None:
            raise Misuse("an event is used that is freed or was never recorded")
        return self.recorded

    def record(self, stream: FakeStream) -> None:
        self.device.call("record")
        if self.is_free:
            raise Misuse("an event is recorded after it was freed")
        self.recorded = stream, stream.given

    def synchronize(self) -> None:
        self.device.call("event_synchronize")
        stream, position = self.point()
        with self.device.running:
            stream.run_until(position)

    def elapsed_ms(self, since: FakeEvent) -> float:
        return float(self.point()[1] - since.point()[1])

    def free(self) -> None:
        if not self.is_free:
            self.is_free = True
            self.device.events.discard(self)


@dataclass(eq=False)
class FakeGraph:
    device: FakeDevice
    operations: list[Operation]
    is_free: bool = False
    launched: tuple[FakeStream, int] | None = None

    def launch(self, stream: FakeStream) -> None:
        self.device.call("graph_launch")
        if self.is_free:
            raise Misuse("a graph is launched after it was freed")
        for operation in self.operations:
            stream.give(operation)
        self.launched = stream, stream.given

    def free(self) -> None:
        if not self.is_free:
            self.is_free = True
            if self.launched and not self.device.guard.is_lost:
                stream, position = self.launched
                if stream.done < position:
                    raise Misuse("a graph is freed while it still runs")
            self.device.graphs.discard(self)


@dataclass(eq=False)
class FakeModule:
    """The real kernels, run by the CPU."""

    device: FakeDevice
    is_free: bool = False

    def __post_init__(self) -> None:
        self.device.modules.add(self)

    def kernel(self, name: str, kinds: str) -> FakeKernel:
        self.device.call("kernel")
        return FakeKernel(self, name, kinds)

    def free(self) -> None:
        self.is_free = True
        self.device.modules.discard(self)


@dataclass(eq=False)
class FakeKernel:
    module: FakeModule
    name: str
    kinds: str

    def launch(
        self,
        grid: tuple[int, int],
        block: tuple[int, int],
        arguments: Sequence[int],
        stream: FakeStream,
    ) -> None:
        device = self.module.device
        device.call("launch")
        if self.module.is_free:
            raise Misuse("a kernel is launched after its module was freed")
        found = {
            address: device.around(address)
            for kind, address in zip(self.kinds, arguments, strict=True)
            if kind == "P"
        }

        def run() -> None:
            values = []
            for kind, value in zip(self.kinds, arguments, strict=True):
                if kind == "P":
                    memory, offset = found[value]
                    value = memory.array.ctypes.data + offset
                values.append(value)
            if not emulated_launch(self.name, grid, block, self.kinds, values):
                raise Misuse(f"{self.name} takes other parameters")

        uses = tuple(memory for memory, _ in found.values())
        stream.give(Operation(self.name, run, uses))


class FakeDevice:
    """See the module; `calls` has every call in order, `ran` what streams ran."""

    def __init__(
        self, *, captures_graphs: bool = True, memory_bytes: int = 2**30
    ) -> None:
        self.gpu = GPU
        self.captures_graphs = captures_graphs
        self.calls: deque[str] = deque(maxlen=10_000)
        self.ran: deque[str] = deque(maxlen=10_000)
        self.copied_in: deque[int] = deque(maxlen=10_000)
        self.memories: set[FakeMemory] = set()
        self.streams: dict[int, FakeStream] = {}
        self.events: set[FakeEvent] = set()
        self.graphs: set[FakeGraph] = set()
        self.modules: set[FakeModule] = set()
        self.closed = 0
        self.guard = Guard(
            lambda error: error.failure if isinstance(error, FakeCudaError) else None,
            lambda: self.answers_probe,
        )
        self.answers_probe = True
        self.running = threading.RLock()
        self.counting = threading.Lock()
        self._memory_bytes = memory_bytes
        self._numbers = itertools.count(1)
        self._next_address = _ALIGNMENT
        self._planted: dict[str, deque[CudaFailure | None]] = {}
        self._current = threading.local()

    # ------------------------------------------------------- what a test asks for

    def plant(self, name: str, code: int, after: int = 0, text: str = "") -> None:
        """Let call `name` fail with CUDA error `code` after `after` good ones."""
        failure = CudaFailure(call=name, code=code, text=text)
        self._planted[name] = deque([*[None] * after, failure])

    @property
    def leaks(self) -> dict[str, int]:
        """What was taken and not given back."""
        found = {
            "memories": len(self.memories),
            "streams": len(self.streams),
            "events": len(self.events),
            "graphs": len(self.graphs),
            "modules": len(self.modules),
        }
        return {name: count for name, count in found.items() if count}

    @property
    def used_bytes(self) -> int:
        return sum(memory.nbytes for memory in self.memories)

    def at(self, address: int) -> FakeMemory:
        memory, offset = self.around(address)
        if offset:
            raise Misuse("a kernel uses an address within a buffer")
        return memory

    def around(self, address: int) -> tuple[FakeMemory, int]:
        """Return the buffer that `address` lies in, and how far within."""
        for memory in self.memories:
            if 0 <= address - memory.address < max(memory.nbytes, 1):
                return memory, address - memory.address
        raise Misuse("a kernel uses an address that was never taken or is freed")

    # ------------------------------------------------------------------ the seam

    def call(self, name: str) -> None:
        self.guard.call(self.called, name)

    def called(self, name: str) -> None:
        if not getattr(self._current, "depth", 0):
            raise Misuse(f"{name} without a current context")
        self.calls.append(name)
        planted = self._planted.get(name)
        failure = planted.popleft() if planted else None
        if failure is not None:
            raise FakeCudaError(failure)

    @contextmanager
    def current(self) -> Iterator[None]:
        self.guard.require_alive()
        self._current.depth = getattr(self._current, "depth", 0) + 1
        try:
            yield
        finally:
            self._current.depth -= 1

    def memory(self) -> MemoryInfo:
        self.call("memory")
        free = self._memory_bytes - self.used_bytes
        return MemoryInfo(free_bytes=free, total_bytes=self._memory_bytes)

    def allocate(self, nbytes: int) -> FakeMemory:
        self.call("allocate")
        if self.used_bytes + nbytes > self._memory_bytes:
            failure = CudaFailure(call="cuMemAlloc", code=2, text="out of memory")
            raise self.guard.error(failure)
        return self._taken(nbytes)

    def pinned(self, nbytes: int) -> FakeMemory:
        self.call("pinned")
        return self._taken(nbytes)

    def stream(self) -> FakeStream:
        self.call("stream")
        stream = FakeStream(self, next(self._numbers))
        self.streams[stream.handle] = stream
        return stream

    def event(self, *, timed: bool = False) -> FakeEvent:
        self.call("event")
        event = FakeEvent(self)
        self.events.add(event)
        return event

    def copy_in(
        self, to: FakeMemory, source: FakeMemory, nbytes: int, stream: FakeStream
    ) -> None:
        self.call("copy_in")
        self.copied_in.append(nbytes)
        self._copy("copy_in", to, source, nbytes, stream)

    def copy_out(
        self, to: FakeMemory, source: FakeMemory, nbytes: int, stream: FakeStream
    ) -> None:
        self.call("copy_out")
        self._copy("copy_out", to, source, nbytes, stream)

    def capture(self, stream: FakeStream, enqueue: Callable[[], None]) -> FakeGraph:
        self.call("capture")
        stream.captured = []
        try:
            enqueue()
            graph = FakeGraph(self, stream.captured)
        finally:
            stream.captured = None
        self.graphs.add(graph)
        return graph

    def module(self, content: bytes) -> FakeModule:
        self.call("module")
        return FakeModule(self)

    def check(self) -> None:
        self.call("check")

    def close(self) -> None:
        self.closed += 1

    def _taken(self, nbytes: int) -> FakeMemory:
        with self.counting:
            address = self._next_address
            # A gap, so that no address leads from one buffer into the next.
            self._next_address += (nbytes // _ALIGNMENT + 2) * _ALIGNMENT
        memory = FakeMemory(self, nbytes, address)
        self.memories.add(memory)
        return memory

    def _copy(
        self,
        name: str,
        to: FakeMemory,
        source: FakeMemory,
        nbytes: int,
        stream: FakeStream,
    ) -> None:
        if nbytes > min(to.nbytes, source.nbytes):
            raise Misuse("a copy leaves its buffers")
        # Page-locked memory is read when the copy runs, not when it is asked for.
        expected = zlib.crc32(source.array[:nbytes]) if name == "copy_in" else None

        def run() -> None:
            if expected is not None and zlib.crc32(source.array[:nbytes]) != expected:
                raise Misuse("memory was rewritten while a copy of it was on its way")
            to.array[:nbytes] = source.array[:nbytes]

        stream.give(Operation(name, run, (to, source)))


def sticky_codes() -> list[int]:
    return sorted(STICKY)
