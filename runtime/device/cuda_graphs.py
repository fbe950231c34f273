"""CUDA graphs through cuda.bindings, for streams of any other binding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from spinert.runtime.device import Stream
from spinert.runtime.device.errors import CudaFailure
from spinert.runtime.device.guard import Guard

__all__ = ["CudaGraph", "GraphApi", "load_graph_api"]


def load_graph_api() -> GraphApi | None:
    """Return CUDA graphs; None where the package cuda-bindings is not installed."""
    try:
        return GraphApi(import_module("cuda.bindings.driver"))
    except ImportError:
        return None


class GraphApi:
    """Capture and launch; every call returns (CUresult, ...) and is checked."""

    def __init__(self, driver: Any) -> None:
        """Use module cuda.bindings.driver."""
        self._driver = driver

    def texts(self) -> Mapping[str, int]:
        """Return what the installed driver says for each error -> its code."""
        found = {}
        for code in self._driver.CUresult:
            status, text = self._driver.cuGetErrorString(code)
            if int(status) == 0 and text:
                found[text.decode()] = int(code)
        return found

    def capture(
        self, guard: Guard, stream: Stream, enqueue: Callable[[], None]
    ) -> CudaGraph:
        """Record what `enqueue` gives to `stream`; see `Device.capture`."""
        driver = self._driver
        handle = driver.CUstream(stream.handle)
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.call(guard, "cuStreamBeginCapture", handle, mode)
        try:
            enqueue()
        except BaseException:
            # Ended in any case: until then the stream takes no other work. The graph
            # is empty or broken, and what went wrong is on its way already.
            self._abandon(driver.cuStreamEndCapture(handle))
            raise
        graph = self.call(guard, "cuStreamEndCapture", handle)
        try:
            instance = self.call(guard, "cuGraphInstantiate", graph, 0)
        finally:
            self.release(guard, "cuGraphDestroy", graph)
        return CudaGraph(self, guard, instance)

    def call(self, guard: Guard, name: str, *arguments: Any) -> Any:
        """Call a function of the driver; return its value, if it has one.

        Raises:
            DeviceLost: The device is dead, or died of this.
            BackendError: The call failed; the device lives.
        """
        guard.require_alive()
        status, *values = getattr(self._driver, name)(*arguments)
        if int(status) != 0:
            raise guard.error(self._failure(name, status))
        return values[0] if values else None

    def release(self, guard: Guard, name: str, handle: Any) -> None:
        """Destroy something; a failure is logged and remembered, not raised."""
        if guard.is_lost:
            return
        (status,) = getattr(self._driver, name)(handle)
        if int(status) != 0:
            guard.error(self._failure(name, status))

    def handle_of(self, stream: Stream) -> Any:
        """Return the stream as cuda.bindings knows it."""
        return self._driver.CUstream(stream.handle)

    def _abandon(self, ended: tuple[Any, Any]) -> None:
        status, graph = ended
        if int(status) == 0 and graph is not None and int(graph) != 0:
            self._driver.cuGraphDestroy(graph)

    def _failure(self, name: str, status: Any) -> CudaFailure:
        found, text = self._driver.cuGetErrorString(status)
        said = text.decode() if int(found) == 0 and text else ""
        return CudaFailure(call=name, code=int(status), text=said)


class CudaGraph:
    """Work that can be launched as a whole."""

    def __init__(self, api: GraphApi, guard: Guard, instance: Any) -> None:
        """Own `instance`, a CUgraphExec."""
        self._api = api
        self._guard = guard
        self._instance = instance

    def launch(self, stream: Stream) -> None:
        """Enqueue all of it."""
        handle = self._api.handle_of(stream)
        self._api.call(self._guard, "cuGraphLaunch", self._instance, handle)

    def free(self) -> None:
        """Give it back; calling twice is harmless."""
        if self._instance is not None:
            self._api.release(self._guard, "cuGraphExecDestroy", self._instance)
            self._instance = None
