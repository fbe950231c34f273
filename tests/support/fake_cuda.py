"""The modules `pycuda.driver` and `cuda.bindings.driver`, as small as they can be.

Enough to see that `PyCudaDevice` asks for the right things in the right order; their
own behaviour is that of the packages (PyCUDA 2026.1, cuda-bindings 13).
"""

from __future__ import annotations

import struct
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

TEXTS = {
    0: "no error",
    1: "invalid argument",
    2: "out of memory",
    700: "an illegal memory access was encountered",
    719: "unspecified launch failure",
    721: "words of a newer driver",
    901: "operation failed due to a previous error during capture",
    999: "unknown error",
}


class Error(Exception):
    """pycuda.driver.Error."""


class Context:
    """pycuda.driver.Context, the class and its one object."""

    def __init__(self, driver: FakePyCuda) -> None:
        self._driver = driver

    def push(self) -> None:
        self._driver.pushed(1)

    def pop(self) -> None:
        self._driver.pushed(-1)

    def detach(self) -> None:
        self._driver.said("detach")

    def synchronize(self) -> None:
        self._driver.said("synchronize")
        if self._driver.probe_fails:
            raise Error("cuCtxSynchronize failed: unknown error")


class Stream:
    """pycuda.driver.Stream."""

    handle = 4242

    def __init__(self, driver: FakePyCuda, flags: int) -> None:
        self._driver = driver
        driver.said(f"Stream {flags}")

    def synchronize(self) -> None:
        self._driver.said("cuStreamSynchronize")

    def wait_for_event(self, event: Event) -> None:
        self._driver.said("cuStreamWaitEvent")


class Event:
    """pycuda.driver.Event."""

    def __init__(self, driver: FakePyCuda, flags: int) -> None:
        self._driver = driver
        driver.said(f"Event {flags}")

    def record(self, stream: Stream) -> None:
        self._driver.said("cuEventRecord")

    def synchronize(self) -> None:
        self._driver.said("cuEventSynchronize")

    def time_since(self, event: Event) -> float:
        return 1.5


class Function:
    """pycuda.driver.Function, of a module."""

    def __init__(self, driver: FakePyCuda, name: str) -> None:
        driver.said("cuModuleGetFunction")
        self._driver = driver
        self._name = name
        self._kinds = ""

    def prepare(self, kinds: str) -> None:
        self._kinds = kinds

    def prepared_async_call(
        self, grid: Any, block: Any, stream: Stream, *arguments: int
    ) -> None:
        self._driver.said("cuLaunchKernel")
        packed = struct.pack(self._kinds, *arguments)
        on = type(stream).__name__
        self._driver.calls.append(f"{self._name} {grid} {block} {len(packed)} on {on}")


class FakePyCuda:
    """pycuda.driver; `planted` maps a call to the text of its failure."""

    Error = Error

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.planted: dict[str, str] = {}
        self.stack = 0
        self.probe_fails = False
        self.freed: list[str] = []
        self.Context = Context(self)
        self.Stream = partial(Stream, self)
        self.Event = partial(Event, self)

    def said(self, name: str) -> None:
        self.calls.append(name)
        if name in self.planted:
            raise Error(f"{name} failed: {self.planted[name]}")

    def pushed(self, by: int) -> None:
        self.said("push" if by > 0 else "pop")
        self.stack += by

    def init(self) -> None:
        self.said("cuInit")

    def Device(self, index: int) -> Any:
        return SimpleNamespace(retain_primary_context=lambda: self.Context)

    def mem_get_info(self) -> tuple[int, int]:
        self.said("cuMemGetInfo")
        return 60, 100

    def mem_alloc(self, nbytes: int) -> Any:
        self.said("cuMemAlloc")
        return FakeAllocation(self, nbytes)

    def pagelocked_empty(self, shape: int, dtype: Any) -> Any:
        self.said("cuMemHostAlloc")
        base = np.zeros(shape, dtype)
        return base.view(_WithBase)

    def module_from_buffer(self, content: bytes) -> Any:
        self.said("cuModuleLoadDataEx")
        self.calls.append(f"module of {len(content)}")
        return SimpleNamespace(get_function=partial(Function, self))

    def memcpy_htod_async(self, to: int, source: Any, stream: Any) -> None:
        self.said("cuMemcpyHtoDAsync")
        self.calls.append(f"to {to} {source.nbytes} on {type(stream).__name__}")

    def memcpy_dtoh_async(self, to: Any, source: int, stream: Any) -> None:
        self.said("cuMemcpyDtoHAsync")
        self.calls.append(f"from {source} {to.nbytes} on {type(stream).__name__}")


class _WithBase(np.ndarray):
    """An array whose base can be freed, as PyCUDA's."""

    @property
    def base(self) -> Any:
        return SimpleNamespace(free=lambda: None)


class FakeAllocation:
    """pycuda.driver.DeviceAllocation."""

    def __init__(self, driver: FakePyCuda, nbytes: int) -> None:
        self._driver = driver
        self.nbytes = nbytes

    def __int__(self) -> int:
        return 7000

    def free(self) -> None:
        self._driver.said("cuMemFree")


class FakeBindings:
    """cuda.bindings.driver: every function returns (status, ...)."""

    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)
    CUresult = tuple(TEXTS)

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.planted: dict[str, int] = {}

    def CUstream(self, handle: int) -> str:
        return f"stream {handle}"

    def cuGetErrorString(self, code: int) -> tuple[int, bytes]:
        return 0, TEXTS[int(code)].encode()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def function(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append(name)
            status = self.planted.get(name, 0)
            if name in ("cuStreamEndCapture", "cuGraphInstantiate"):
                return status, 11 if status == 0 else None
            return (status,)

        return function
