"""What each layer of an engine takes, as TensorRT itself times it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from spinert.runtime.backends.profiled import LayerTime
from spinert.runtime.device import Stream
from spinert.runtime.errors import BackendError, Reason
from spinert.runtime.tensor_rt.engine import ExecutionContext

__all__ = ["measured_layers"]


def measured_layers(
    api: Any, context: ExecutionContext, stream: Stream, runs: int
) -> tuple[LayerTime, ...]:
    """Run `context` alone and return the mean of each layer.

    Args:
        api: The module tensorrt or tensorrt_rtx.
        context: With its shapes set; for this alone, because it stays slow.
        stream: Where it runs; nothing of it is left there, whatever happens.
        runs: From 1; one more comes before, in which kernels are loaded or made.

    Raises:
        BackendError: It cannot be run, or TensorRT tells nothing of its layers.
        DeviceLost: The device died.
    """
    profiler = _profiler(api)
    context.profile_with(profiler)
    _run(context, stream)
    profiler.forget()
    for _ in range(runs):
        _run(context, stream)
    if not profiler.spent_ms:
        raise BackendError(
            Reason.NETWORK_FAILED,
            "this TensorRT tells nothing of the layers of its engines; use Nsight "
            "Systems on `spinert serve`",
        )
    return tuple(
        LayerTime(
            name=name,
            count=round(profiler.reports[name] / runs),
            duration_ms=total / runs,
        )
        for name, total in profiler.spent_ms.items()
    )


def _run(context: ExecutionContext, stream: Stream) -> None:
    context.enqueue(stream.handle)
    stream.synchronize()
    context.report()


def _profiler(api: Any) -> Any:
    """Return an IProfiler that adds up the times of each layer."""

    class Profiler(api.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            api.IProfiler.__init__(self)
            self.spent_ms: defaultdict[str, float] = defaultdict(float)
            self.reports: Counter[str] = Counter()

        def forget(self) -> None:
            self.spent_ms.clear()
            self.reports.clear()

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.spent_ms[layer_name] += ms
            self.reports[layer_name] += 1

    return Profiler()
